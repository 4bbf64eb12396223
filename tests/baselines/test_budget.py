import itertools

from hypothesis import given
from hypothesis import strategies as st

from podgym.baselines.budget import Claim, within_budget

CLAIMS = st.lists(
    st.builds(
        lambda wanted, least, cores, gib: Claim(wanted, min(wanted, least), cores, gib),
        st.integers(0, 12),
        st.integers(0, 3),
        st.sampled_from([0.1, 0.25, 0.5, 1.0]),
        st.sampled_from([0.0, 0.125, 0.5]),
    ),
    max_size=4,
)


def used(claims, counts):
    return (
        sum(count * claim.cores for claim, count in zip(claims, counts, strict=True)),
        sum(count * claim.gib for claim, count in zip(claims, counts, strict=True)),
    )


@given(CLAIMS, st.floats(0.1, 20.0), st.floats(0.1, 8.0))
def test_the_budget_holds_and_nothing_that_fits_is_withheld(claims, cores, gib):
    counts = within_budget(claims, cores, gib)
    assert all(c.least <= n <= c.wanted for c, n in zip(claims, counts, strict=True))
    least = used(claims, [claim.least for claim in claims])
    spent = used(claims, counts)
    assert spent[0] <= max(cores, least[0]) + 1e-6
    assert spent[1] <= max(gib, least[1]) + 1e-6
    for claim, count in zip(claims, counts, strict=True):
        if count < claim.wanted:
            assert spent[0] + claim.cores > cores or spent[1] + claim.gib > gib


def test_alike_services_get_alike_shares():
    claims = [Claim(10, 1, 0.5, 0.5), Claim(10, 1, 0.5, 0.5), Claim(20, 1, 0.5, 0.5)]
    assert within_budget(claims, 10.0, None) == (5, 5, 10)
    assert within_budget(claims, None, 6.0) == (3, 3, 6)
    assert within_budget(claims, None, None) == (10, 10, 20)


def test_ten_tenths_fit_into_one_and_the_minimum_is_sacred():
    assert within_budget([Claim(12, 1, 0.1, 0.0)], 1.0, None) == (10,)
    assert within_budget([Claim(9, 4, 1.0, 0.0), Claim(3, 0, 1.0, 0.0)], 2.0, None) == (4, 0)


def test_the_smallest_share_is_as_large_as_any_division_allows():
    claims = [Claim(6, 0, 0.5, 0.0), Claim(4, 0, 1.0, 0.0), Claim(3, 0, 0.25, 0.0)]
    counts = within_budget(claims, 4.0, None)
    shares = [count / claim.wanted for claim, count in zip(claims, counts, strict=True)]
    best = max(
        min(count / claim.wanted for claim, count in zip(claims, division, strict=True))
        for division in itertools.product(range(7), range(5), range(4))
        if used(claims, division)[0] <= 4.0
    )
    assert min(shares) == best
