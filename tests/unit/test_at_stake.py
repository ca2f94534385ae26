"""What quarantined usage may cost: the cheapest and the dearest of a price's rates."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from taximeter.domain.catalog.plan import Dimensional, Package, PerUnit, Rate
from taximeter.domain.rating.model import model_amount

_prices = st.decimals("-5", "5", places=3)
_pers = st.sampled_from([Decimal(1), Decimal(7), Decimal(1000)])
_models: st.SearchStrategy[PerUnit | Package] = st.one_of(
    st.builds(PerUnit, _prices, _pers),
    st.builds(Package, st.decimals("0", "5", places=2), _pers, st.just(Decimal(0))),
)


@given(st.lists(_models, min_size=1, max_size=20), st.decimals("-9", "9", places=2))
def test_the_extremes_of_rates_cost_least_and_most(
    models: list[PerUnit | Package], quantity: Decimal
) -> None:
    rates = tuple(Rate((("model", str(n)),), model) for n, model in enumerate(models))
    extremes = Dimensional(("model",), rates, "quarantine").extremes
    every = [model_amount(one, quantity) for one in models]
    few = [model_amount(one, quantity) for one in extremes if isinstance(one, PerUnit | Package)]
    assert (min(few), max(few)) == (min(every), max(every))
    assert sum(isinstance(one, PerUnit) for one in extremes) <= 2
