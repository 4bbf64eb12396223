import math

from oracles.observations import forecast

from podgym.baselines.forecast_watch import ForecastWatch


def watch(rates, told, patience_s=60.0, margin=0.0, renewed_s=15.0):
    """Feed a watch one sample every 15 s, five seconds old; return its verdicts."""
    judge, verdicts = ForecastWatch(patience_s, margin), []
    for step, rate_rps in enumerate(rates):
        now_s = 15.0 * step
        made_s = now_s - now_s % renewed_s
        judge.note(told(made_s), now_s)
        judge.judge(rate_rps, now_s - 5.0)
        verdicts.append(judge.trusted)
    return verdicts


def test_trust_is_lost_after_an_unbroken_run_of_misses_and_comes_back_likewise():
    rates = [100.0] * 8 + [200.0] * 8 + [100.0] * 8
    verdicts = watch(rates, lambda _: forecast(100.0))
    first = verdicts.index(False)
    assert first == 12  # the first miss is the ninth sample, four intervals make a minute
    assert verdicts[first:].index(True) == 8  # the first hit four samples later, and a minute again
    assert verdicts[20:] == [True] * 4


def test_one_hit_in_a_while_keeps_the_trust():
    rates = [200.0 if k % 4 else 100.0 for k in range(60)]
    assert all(watch(rates, lambda _: forecast(100.0)))


def test_the_margin_widens_the_interval():
    rates = [119.0] * 30
    assert not all(watch(rates, lambda _: forecast(100.0)))
    assert all(watch(rates, lambda _: forecast(100.0), margin=0.1))


def test_a_right_forecast_of_a_ramp_is_right():
    def rate_rps(time_s):
        return 100.0 + time_s

    def told(made_s):
        return forecast(rate_rps(made_s + 30.0), spread=0.06)  # a scrape is up to 5 s off

    rates = [rate_rps(15.0 * k - 5.0 - 15.0) for k in range(40)]
    assert all(watch(rates, told))
    # Renewed each minute it is half a minute off at most, which an interval for a minute must allow.
    assert all(watch(rates, told, renewed_s=60.0, margin=0.25))


def test_without_numbers_there_is_no_verdict():
    assert all(watch([100.0] * 30, lambda _: forecast(math.nan)))
    assert all(watch([100.0] * 30, lambda _: forecast()))
    judge = ForecastWatch(0.0, 0.0)
    judge.note(forecast(100.0), 0.0)
    judge.judge(500.0, 3000.0)  # nothing was told of that time
    assert judge.trusted
