// Renews the figures of a page as they change, and draws its charts. All text comes from the
// server; nothing is computed here.

const RETRY_MS = 30_000;
const RENEW_MS = 60_000;
const status = document.getElementById("live-status");

function show(figures) {
  const places = new Map();
  for (const place of document.querySelectorAll("[data-figure]")) {
    const name = place.dataset.figure;
    places.set(name, [...(places.get(name) ?? []), place]);
  }
  for (const [name, text] of Object.entries(figures)) {
    for (const place of places.get(name) ?? []) {
      if (place.textContent === text) continue;
      place.textContent = text;
      if (name === "clock") continue;
      place.classList.remove("changed");
      void place.offsetWidth; // restarts the animation
      place.classList.add("changed");
    }
  }
}

function say(text) {
  if (status && status.textContent !== text) status.textContent = text;
  document.body.classList.toggle("is-live", text === "Live");
}

let source = null;

function follow(address) {
  source = new EventSource(address);
  source.addEventListener("open", () => say("Live"));
  source.addEventListener("figures", (event) => {
    const figures = JSON.parse(event.data);
    if (figures.shape && figures.shape !== document.querySelector("main").dataset.shape) renew("main");
    show(figures);
  });
  source.addEventListener("error", () => {
    say("Reconnecting");
    if (source.readyState !== EventSource.CLOSED) return;
    say("Paused"); // the server has no room, or the session has ended
    setTimeout(() => { if (!document.hidden && source.readyState === EventSource.CLOSED) follow(address); }, RETRY_MS);
  });
}

// Takes parts of this page anew from the server: rows that were not there, bars that have grown.
async function renew(selector) {
  const answer = await fetch(location.href, { credentials: "same-origin" });
  if (!answer.ok || answer.redirected) return location.reload();
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of document.querySelectorAll(selector)) {
    const id = part.dataset.renew;
    const found = fresh.querySelector(id ? `[data-renew="${id}"]` : selector);
    if (!found) continue;
    const open = new Set([...part.querySelectorAll("details[open]")].map((one) => one.id));
    const focused = part.contains(document.activeElement) ? document.activeElement.id : "";
    part.replaceWith(found);
    for (const one of found.querySelectorAll("details")) one.open = one.id !== "" && open.has(one.id);
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
    await draw(found);
  }
}

async function draw(root) {
  if (!window.vegaEmbed) return;
  for (const place of root.querySelectorAll(".plot")) {
    const spec = place.querySelector("script");
    if (!spec) continue;
    await window.vegaEmbed(place, JSON.parse(spec.textContent), {
      ast: true, actions: false, defaultStyle: false, renderer: "svg",
      tooltip: { disableDefaultStyle: true },
    });
    place.querySelector("svg")?.setAttribute("aria-hidden", "true"); // the place has a name itself
  }
}

const address = document.body.dataset.live;
if (address) {
  follow(address);
  addEventListener("pagehide", () => source.close());
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) source.close();
    else if (source.readyState === EventSource.CLOSED) follow(address);
  });
  if (document.querySelector("[data-renew]")) {
    setInterval(() => { if (!document.hidden) renew("[data-renew]"); }, RENEW_MS);
  }
}
draw(document);
