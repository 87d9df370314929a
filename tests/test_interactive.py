"""The interactive plots in a real browser: the scripts compute what theory.py computes, and sliders move the curves."""

from __future__ import annotations

import functools
import json
import math
import re

import pytest
import torch
from scipy import integrate

from zoo.depth.branches import TwoMatrices
from zoo.depth.processes import smooth_features
from zoo.depth.trunk import states
from zoo.gallery.interactive import Parameter
from zoo.models.scaled_resnet import theory as residual
from zoo.models.scaled_resnet.interactive import INTERACTIVE as RESIDUAL
from zoo.models.self_attention_dynamics import theory as attention
from zoo.models.self_attention_dynamics.interactive import INTERACTIVE as ATTENTION
from zoo.models.single_location import theory as location
from zoo.models.single_location.interactive import INTERACTIVE as LOCATION

fragment = functools.cache(lambda system: SYSTEMS[system].fragment(system))
SYSTEMS = {"single_location": LOCATION, "self_attention_dynamics": ATTENTION, "scaled_resnet": RESIDUAL}


@pytest.fixture(scope="module")
def open_page(browser, tmp_path_factory):
    """Opens a system's plot from a file; the page's errors and requests are kept with it."""
    folder, pages = tmp_path_factory.mktemp("interactive"), []

    def open_one(system: str, width: int = 1000):
        one = SYSTEMS[system]
        scripts = "".join(f'<script defer src="{path.as_uri()}"></script>' for path in one.scripts)
        file = folder / f"{system}.html"
        file.write_text(f"<!doctype html><meta charset=utf-8>{scripts}<body>{fragment(system)}</body>")
        page = browser.new_page(viewport={"width": width, "height": 900}, reduced_motion="reduce")
        page.set_default_timeout(10_000)
        page.complaints = []
        page.on("console", lambda message: page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.on("request", lambda sent: sent.url.startswith("file:") or page.complaints.append(sent.url))
        page.goto(file.as_uri())
        page.wait_for_selector(".zoo-interactive svg .zoo-line", state="attached")
        pages.append(page)
        return page

    yield open_one
    for page in pages:
        page.close()


@pytest.fixture(scope="module")
def page_of(open_page):
    """One page for each system, for tests that only ask it to compute."""
    return functools.cache(open_page)


def computed(page, code: str, **given):
    """A value that a script computes; infinities and the like would come back as null."""
    return json.loads(page.evaluate(f"given => JSON.stringify(({code}))", given))


# The page.


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_plot_draws_without_complaints_and_fits_a_phone(open_page, system):
    page = open_page(system, width=390)
    assert page.complaints == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.locator(".zoo-legend span").count() > 0
    for slider in page.locator("input[type=range]").all():
        assert slider.evaluate("one => one.labels.length === 1 && !!one.getAttribute('aria-valuetext')")


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_slider_changes_the_plot_from_the_keyboard(open_page, system):
    page = open_page(system)

    def drawn():
        return page.eval_on_selector_all(".zoo-interactive svg [d]", "all => all.map(one => one.getAttribute('d'))")

    for parameter in SYSTEMS[system].parameters:
        before = drawn()
        if isinstance(parameter.start, str):
            page.get_by_label(parameter.values[1], exact=True).check()
        else:
            slider = page.locator(f"#zoo-{parameter.name}")
            text = slider.get_attribute("aria-valuetext")
            slider.focus()
            page.keyboard.press("ArrowRight")
            assert slider.get_attribute("aria-valuetext") != text
        assert drawn() != before, parameter.name
    assert page.complaints == []


def test_the_start_of_the_flow_moves_by_mouse_and_by_keys(open_page):
    page = open_page("single_location")
    handle = page.locator(".zoo-handle")
    handle.focus()
    before = handle.get_attribute("aria-valuetext")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    moved = handle.get_attribute("aria-valuetext")
    assert moved != before and handle.evaluate("one => one === document.activeElement")
    box = page.locator("svg[role=group]").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 4)
    assert handle.get_attribute("aria-valuetext") != moved
    assert page.complaints == []


def test_tokens_play_on_demand_and_stop(open_page):
    page = open_page("self_attention_dynamics")
    clock, button = page.locator("#zoo-clock"), page.get_by_role("button")
    clock.fill("0")
    assert button.inner_text() == "Play"  # reduced motion: nothing moves unasked
    button.click()
    page.wait_for_function("document.querySelector('#zoo-clock').value > 2")
    button.click()
    assert button.inner_text() == "Play"


def test_numbers_on_axes_have_real_minus_signs(open_page):
    page = open_page("single_location")
    labels = page.locator(".zoo-interactive svg text").all_text_contents()
    assert "−1" in labels
    assert not any(re.fullmatch(r"-[0-9.]+", label) for label in labels)
    assert computed(page, "[-0.5, 1234567, 0.00002, 0, 30].map(x => zoo.plot.number(x))") == [
        "−0.5",
        "1.2 · 10⁶",
        "2 · 10⁻⁵",
        "0",
        "30",
    ]


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_data_of_a_page_are_small_and_plain(system):
    text = fragment(system)
    assert len(text) < 100_000
    payload = json.loads(re.search(r'id="zoo-interactive-data">(.*)</script>', text, re.DOTALL)[1])
    assert payload.keys() == {"parameters", "data"}


def test_a_start_outside_the_slider_is_refused():
    with pytest.raises(ValueError, match="none of the values"):
        Parameter("beta", "β", "scaling", (0.5, 1.0), 0.7)


# The computations, against theory.py.

DATA = "JSON.parse(document.getElementById('zoo-interactive-data').textContent).data"
PAIRS = [(0.1, 400), (0.01, 20), (1.0, 2000), (0.3981, 80)]


def the_law(page, d: int) -> str:
    return f"{{...{DATA}.law, d: {d}}}"


@pytest.mark.parametrize(("lam", "d"), PAIRS)
def test_single_location_follows_the_limit_flow(page_of, lam, d):
    page, law = page_of("single_location"), location.Law(d)
    for start in ((0.05, 0.02), (-0.3, 0.4), (0.9, -0.9)):
        times = [0.0, 0.5, 1.0, 3.0, 10.0, 40.0]
        exact = precise(start, times, law, lam)
        code = f"zoo.single_location.limitTrajectory(given.start, given.times, {the_law(page, d)}, {lam}, 200)"
        found = torch.tensor(computed(page, code, start=start, times=times), dtype=torch.float64)
        assert (found - exact).abs().max() < 1e-6


def precise(start, times, law, lam):
    """The limit flow of theory.py under an integrator for stiff equations, (s, 2)."""

    def field(_, at):
        return [rate.item() for rate in location.limit_flow(*torch.tensor(at), law, lam)]

    solution = integrate.solve_ivp(field, (0, times[-1]), start, "LSODA", times, rtol=1e-10, atol=1e-12)
    return torch.from_numpy(solution.y.T)


@pytest.mark.parametrize(("lam", "d"), PAIRS)
def test_single_location_has_the_risk_of_the_theory(page_of, lam, d):
    page, law = page_of("single_location"), location.Law(d)
    points = torch.linspace(-1, 1, 9, dtype=torch.float64)
    exact = location.manifold_excess(points, points.flip(0) / 2, law, lam)
    code = f"given.points.map(x => zoo.single_location.manifoldExcess(x, -x / 2, {the_law(page, d)}, {lam}))"
    found = torch.tensor(computed(page, code, points=points.tolist()), dtype=torch.float64)
    assert torch.allclose(found, exact, rtol=1e-12, atol=1e-12)
    said = computed(page, f"zoo.single_location.saddle({the_law(page, d)}, {lam})")
    exact_saddle = location.saddle(law, lam)
    assert said["rate"] == pytest.approx(exact_saddle.rate, rel=1e-12)
    assert said["slope"] == pytest.approx(exact_saddle.slope, rel=1e-12)
    ends = (
        f"[zoo.single_location.oracleExcess, zoo.single_location.linearExcess].map(f => f({the_law(page, d)}, {lam}))"
    )
    assert computed(page, ends) == pytest.approx(
        [location.oracle_excess(law, lam).item(), location.linear_excess(law)], rel=1e-12
    )


def test_the_boundary_parts_the_starts(page_of):
    page, law = page_of("single_location"), location.Law(400)
    curve = computed(page, f"zoo.single_location.separatrix({the_law(page, 400)}, 0.1)")
    for kappa, nu in curve[:: len(curve) // 9][1:-1]:
        if abs(kappa) < 0.05:
            continue
        for shift in (-0.02, 0.02):
            end = precise((kappa + shift, nu), [0.0, 200.0], law, 0.1)[-1]
            assert end[1].item() == pytest.approx(math.copysign(1, shift), abs=1e-6)


@pytest.mark.parametrize("dynamics", attention.DYNAMICS)
@pytest.mark.parametrize(("n", "beta"), [(5, 4.0), (8, 1.0), (16, 9.0)])
def test_tokens_follow_the_flow(page_of, dynamics, n, beta):
    page = page_of("self_attention_dynamics")
    angles = torch.tensor(computed(page, f"{DATA}.starts[{n}]"), dtype=torch.float64)
    path = attention.trajectory(attention.angles_to_tokens(angles), beta, 0.02, 500, every=125, dynamics=dynamics)
    exact = attention.mean_energy(path, beta)[1:]
    code = (
        "zoo.self_attention_dynamics.trajectory(given.angles, [2.5, 5, 7.5, 10], given.beta, given.dynamics)"
        ".map(one => ({tokens: one.of.map(c => [Math.cos(one.angles[c]), Math.sin(one.angles[c])]),"
        " energy: zoo.self_attention_dynamics.meanEnergy(one.angles, one.sizes, given.beta)}))"
    )
    found = computed(page, code, angles=angles.tolist(), beta=beta, dynamics=dynamics)
    tokens = torch.tensor([one["tokens"] for one in found], dtype=torch.float64)
    assert (tokens - path[1:]).abs().max() < 1e-6
    assert [one["energy"] for one in found] == pytest.approx(exact.tolist(), abs=1e-6)


@pytest.mark.parametrize("dynamics", attention.DYNAMICS)
def test_two_clusters_meet_when_the_theory_says(page_of, dynamics):
    page, end = page_of("self_attention_dynamics"), math.acos(attention.MERGED)
    for beta, a, b, start in ((1.0, 1, 1, 1.2), (4.0, 3, 2, 2.5), (9.0, 19, 13, 3.0)):
        code = f"zoo.self_attention_dynamics.clusterTime({beta}, {a}, {b}, {start}, {end}, '{dynamics}')"
        assert computed(page, code) == pytest.approx(attention.cluster_time(beta, a, b, start, end, dynamics), rel=1e-6)


@pytest.mark.parametrize("beta", [0.0, 0.25, 0.5, 1.0, 1.5])
def test_scaled_nets_have_the_mean_square_of_the_theory(page_of, beta):
    page = page_of("scaled_resnet")
    for depth in RESIDUAL.parameters[1].values:
        code = f"['Growth', 'Change'].map(f => zoo.scaled_resnet['meanSquare' + f]({depth}, {beta}))"
        exact = [residual.mean_square_growth(depth, beta), residual.mean_square_change(depth, beta)]
        assert computed(page, code) == pytest.approx(exact, rel=1e-9)


def test_scaled_nets_are_those_of_the_zoo(page_of):
    """A net that the script draws, read at two depths and run by the zoo's own trunk; and the law of its weights."""
    page, width, most = page_of("scaled_resnet"), 6, 40
    times = torch.arange(0, 1, 0.1, dtype=torch.float64)
    code = "given.times.map(s => zoo.scaled_resnet.smoothFeatures(s, 0.1))"
    features = torch.tensor(computed(page, code, times=times.tolist()), dtype=torch.float64)
    assert (features - smooth_features(times, 0.1)).abs().max() < 1e-12
    for process in ("independent", "smooth"):
        net = f"zoo.scaled_resnet.drawNet('{process}', {{width: {width}, most: {most}, length: 0.1}}, 3)"
        drawn = computed(page, f"(n => [n.start, n.V, n.W].map(x => Array.from(x)))({net})")
        start, V, W = (torch.tensor(one, dtype=torch.float64) for one in drawn)
        for depth, beta in ((40, 0.5), (10, 1.0), (20, -1.0)):
            layers = [one.view(most, width, width)[:: most // depth] for one in (V, W)]
            path = torch.stack(list(states(TwoMatrices("relu"), start[None], layers, depth**-beta)))[:, 0]
            exact = (path.norm(dim=1) / start.norm()).log()
            change = ((path[-1] - start).norm() / start.norm()).log().item()
            found = computed(page, f"zoo.scaled_resnet.states({net}, {depth}, {beta})")
            assert found["logs"] == pytest.approx(exact.tolist(), abs=1e-6)
            assert found["logChange"] == pytest.approx(change, abs=1e-6)


def test_drawn_weights_have_variance_one_over_the_width(page_of):
    page, width = page_of("scaled_resnet"), 8
    for process in ("independent", "smooth"):
        code = f"Array.from({{length: 30}}, (_, i) => zoo.scaled_resnet.drawNet('{process}', {{width: {width}, most: 50, length: 0.1}}, i).V)"
        V = torch.tensor([list(one.values()) for one in computed(page, code)], dtype=torch.float64)
        assert V.square().mean().item() * width == pytest.approx(1, rel=0.05)
        assert abs(V.mean().item()) < 0.02
