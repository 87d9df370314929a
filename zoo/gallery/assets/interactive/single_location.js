// Single-location regression: the limit flow of (kappa, nu) on the invariant manifold and its risk, in closed form.
"use strict";

(() => {
  const { Chart, controls, html, mount, number } = window.zoo.plot;
  const TWO_OVER_ROOT_PI = 2 / Math.sqrt(Math.PI);

  // The formulas of theory.py. law = {d, length, gamma2, nodes, weights}, the last two of the quadrature on [0, 1].

  /** erf by its series with positive terms, 2/sqrt(pi) e^{-x^2} sum_n (2 x^2)^n x/(2n+1)!!. */
  function erf(x) {
    if (Math.abs(x) > 6) return Math.sign(x);
    let term = x;
    let sum = x;
    for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n++) sum += term *= (2 * x * x) / (2 * n + 1);
    return TWO_OVER_ROOT_PI * Math.exp(-x * x) * sum;
  }

  const constants = (law, lam) => {
    const s = Math.sqrt(law.d / 2);
    const g2 = lam * lam * law.gamma2;
    return { s, g2, q: 1 + 2 * g2, p: 1 + 4 * g2 };
  };

  const zetaAtZero = (g2) => (2 / Math.PI) * Math.asin((2 * g2) / (1 + 2 * g2));

  /** zeta(t, g) = E erf(t + g G)^2 at A = t/sqrt(q). */
  function zeta(A, { g2, p }, law) {
    let sum = 0;
    law.nodes.forEach((node, i) => {
      const spread = 1 + node / p;
      sum -= (law.weights[i] / (spread * Math.sqrt(p))) * Math.expm1(-A * A * spread);
    });
    return zetaAtZero(g2) + (4 / Math.PI) * sum;
  }

  function manifoldExcess(kappa, nu, law, lam) {
    const c = constants(law, lam);
    const A = (lam * c.s * kappa) / Math.sqrt(c.q);
    return law.gamma2 * (1 - 2 * nu * erf(A) + zeta(A, c, law)) + (law.length - 1) * zetaAtZero(lam * lam);
  }

  const oracleExcess = (law, lam) => manifoldExcess(1, 1, law, lam);
  const linearExcess = (law) => law.gamma2 - law.gamma2 ** 2 / (law.gamma2 + law.length - 1);

  function limitFlow(kappa, nu, law, lam) {
    const { s, q, p } = constants(law, lam);
    const A = (lam * s * kappa) / Math.sqrt(q);
    const slope = (TWO_OVER_ROOT_PI / Math.sqrt(q)) * Math.exp(-A * A);
    const zetaSlope = 2 * slope * erf(A / Math.sqrt(p));
    const rate = lam * s * law.gamma2 * (2 * nu * slope - zetaSlope) * (1 - kappa * kappa);
    return [rate, 2 * law.gamma2 * erf(A) * (1 - nu * nu)];
  }

  function rk4([kappa, nu], h, law, lam) {
    const a = limitFlow(kappa, nu, law, lam);
    const b = limitFlow(kappa + (h / 2) * a[0], nu + (h / 2) * a[1], law, lam);
    const c = limitFlow(kappa + (h / 2) * b[0], nu + (h / 2) * b[1], law, lam);
    const e = limitFlow(kappa + h * c[0], nu + h * c[1], law, lam);
    return [kappa + (h / 6) * (a[0] + 2 * b[0] + 2 * c[0] + e[0]), nu + (h / 6) * (a[1] + 2 * b[1] + 2 * c[1] + e[1])];
  }

  /** One over the time in which the flow changes: the larger entries of its Jacobian. */
  function stiffness([kappa, nu], law, lam) {
    const e = 1e-5;
    const [u, v] = limitFlow(kappa, nu, law, lam);
    const [uk, vk] = limitFlow(kappa + e, nu, law, lam);
    return (Math.abs(uk - u) + 2 * Math.abs(vk - v)) / e;
  }

  /** States at `times` from the one at times[0]; at least `substeps` steps between two, more where the flow is stiff. */
  function limitTrajectory(start, times, law, lam, substeps = 8) {
    const path = [start];
    for (let i = 1; i < times.length; i++) {
      let state = path[i - 1];
      for (let t = times[i - 1]; t < times[i];) {
        const left = times[i] - t;
        const h = Math.min((times[i] - times[i - 1]) / substeps, 0.15 / stiffness(state, law, lam));
        const last = h > left * (1 - 1e-9);
        state = rk4(state, last ? left : h, law, lam);
        t = last ? times[i] : t + h;
      }
      path.push(state);
    }
    return path;
  }

  /** Growth rate at (0, 0), and the slope of the line kappa + slope nu = 0 that parts the starts, to first order. */
  function saddle(law, lam) {
    const { s, q, p } = constants(law, lam);
    const push = (2 * law.gamma2 * lam * s * TWO_OVER_ROOT_PI) / Math.sqrt(q);
    const decay = ((lam * s) ** 2 * law.gamma2 * 2 * TWO_OVER_ROOT_PI ** 2) / (q * Math.sqrt(p));
    const rate = (-decay + Math.sqrt(decay ** 2 + 4 * push * push)) / 2;
    return { rate, slope: (rate + decay) / push };
  }

  /** The curve that parts the starts: the two orbits that run into (0, 0), followed back in time. */
  function separatrix(law, lam) {
    const { slope } = saddle(law, lam);
    const half = [];
    let at = [(1e-4 * slope) / Math.hypot(1, slope), -1e-4 / Math.hypot(1, slope)];
    for (let i = 0; i < 20000 && Math.max(Math.abs(at[0]), Math.abs(at[1])) < 0.995; i++) {
      half.push(at);
      const [u, v] = limitFlow(...at, law, lam);
      const h = Math.min(0.01 / Math.hypot(u, v), 0.2 / stiffness(at, law, lam));
      at = rk4(at, -h, law, lam);
    }
    return [...half.map(([a, b]) => [-a, -b]).reverse(), [0, 0], ...half];
  }

  // The plot.

  const FIRST = 0.3;
  const LAST = 300;
  const TIMES = [0, ...Array.from({ length: 181 }, (_, i) => FIRST * (LAST / FIRST) ** (i / 180))];

  function draw(place, { parameters, data }) {
    const state = controls(place, parameters, () => update());
    const panels = html(place, "div", { class: "zoo-panels" });
    const square = new Chart(panels, { label: "Flow of the alignments kappa and nu", shape: (w) => Math.min(w, 430) });
    const stack = html(panels, "div", { class: "zoo-stack" });
    const risk = new Chart(stack, { label: "Excess risk over time", shape: (w) => Math.min(0.56 * w, 250) });
    const floor = new Chart(stack, {
      label: "Excess risk of the oracle against lambda",
      shape: (w) => Math.min(0.46 * w, 200),
    });
    const says = html(place, "p", { class: "zoo-says", role: "status" });
    let start = data.measured.kappa[0].map((kappa, r) => [kappa, data.measured.nu[0][r]])[0];

    function update() {
      const { lam } = state;
      const law = { ...data.law, d: state.d };
      const path = limitTrajectory(start, TIMES, law, lam);
      const { rate } = saddle(law, lam);
      const oracle = oracleExcess(law, lam);
      const linear = linearExcess(law);
      const same = lam === data.measured.lam && state.d === data.measured.d;
      const { kappa, nu, excess, times } = data.measured;
      const runs = kappa[0].map((_, r) => r);

      const arrows = [];
      for (let a = -0.9; a < 1; a += 0.2) {
        for (let b = -0.9; b < 1; b += 0.2) {
          const [u, v] = limitFlow(a, b, law, lam);
          const size = Math.hypot(u, v);
          const length = (16 * size) / (size + 0.15 * rate + 0.02);
          arrows.push([a, b, (u / size) * length, (v / size) * length]);
        }
      }
      const marks = [
        { arrows, style: "faint thin" },
        { line: separatrix(law, lam), style: "dotted", name: "boundary between the two ends" },
      ];
      if (same)
        marks.push({ lines: runs.map((r) => kappa.map((row, i) => [row[r], nu[i][r]])), colour: 1, style: "faint" });
      marks.push({ line: path, colour: 2, style: "bold", name: "limit flow from the point" });
      marks.push({
        stars: [
          [1, 1],
          [-1, -1],
        ],
        name: "±(_k_*, _v_*)",
      });
      const side = {
        domain: [-1.05, 1.05],
        ticks: [
          [-1, "−1"],
          [-0.5, "−0.5"],
          [0, "0"],
          [0.5, "0.5"],
          [1, "1"],
        ],
      };
      square.show({ x: { ...side, title: "_κ_ = _k_ · _k_*" }, y: { ...side, title: "_ν_ = _v_ · _v_*" }, marks });
      square.handle({
        at: start,
        step: 0.02,
        low: -0.999,
        high: 0.999,
        label: "start of the flow; arrow keys move it",
        text: `kappa ${number(start[0])}, nu ${number(start[1])}`,
        move: (to) => {
          start = to;
          update();
        },
      });

      const curve = path.map((at, i) => [TIMES[i], manifoldExcess(...at, law, lam)]).slice(1);
      const lines = [
        { across: oracle, style: "theory", text: "oracle at this _λ_", at: "left" },
        { across: linear, style: "dotted", text: "best linear" },
      ];
      if (same) {
        const each = runs.map((r) => excess.map((row, i) => [times[i], row[r]]).slice(1));
        lines.push({ lines: each, colour: 1, style: "faint", name: `${runs.length} measured runs` });
      }
      lines.push({ line: curve, colour: 2, style: "bold", name: "limit flow" });
      const all = [oracle, linear, ...curve.map((point) => point[1])];
      risk.show({
        x: { domain: [FIRST, LAST], log: true, title: "time = step size × steps" },
        y: { domain: [Math.min(...all) / 1.6, Math.max(...all) * 1.3], log: true, title: "excess risk" },
        marks: lines,
      });

      const grid = data.grid;
      floor.show({
        x: { domain: [grid[0], grid[grid.length - 1]], log: true, title: "_λ_" },
        y: { domain: [0.02, 10], log: true, title: "oracle's risk" },
        marks: [
          { across: linear, style: "dotted", text: "best linear", at: "left" },
          { line: grid.map((x) => [x, oracleExcess(law, x)]), style: "theory" },
          { dots: [[lam, oracle]], colour: 2, size: 5 },
        ],
      });
      says.textContent =
        `At λ = ${number(lam)}, d = ${state.d}: the flow leaves (0, 0) at rate ${number(rate)} per unit of time; ` +
        `the oracle's excess risk is ${number(oracle)}, ` +
        (oracle < linear ? "below" : "above") +
        ` that of the best linear predictor, ${number(linear)}.` +
        (same ? ` Faint lines: the runs of ${data.measured.weight}.` : "");
    }
    update();
  }

  window.zoo.single_location = {
    erf,
    limitFlow,
    limitTrajectory,
    linearExcess,
    manifoldExcess,
    oracleExcess,
    saddle,
    separatrix,
    zeta: (t, g, law) => zeta(t / Math.sqrt(1 + 2 * g * g), { g2: g * g, p: 1 + 4 * g * g }, law),
  };
  mount("single_location", draw);
})();
