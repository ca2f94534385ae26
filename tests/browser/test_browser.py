"""That the browser of these tests renders a page and runs its scripts."""

from playwright.sync_api import Page, expect


def test_a_page_is_rendered(page: Page) -> None:
    page.set_content("<h1>0</h1><script>document.querySelector('h1').textContent = 40 + 2</script>")
    expect(page.get_by_role("heading")).to_have_text("42")
