// Self-attention dynamics on the circle: the exact flow until all tokens are one, and the two-cluster equation.
"use strict";

(() => {
  const { Chart, controls, html, mount, number, svg } = window.zoo.plot;

  // A configuration: angles of point clusters and their sizes. Tokens that coincide stay together, so nothing is lost.

  /** theta_i' of SA, or of USA with the exponent beta (cos - 1). */
  function velocity(angles, sizes, beta, dynamics) {
    const n = sizes.reduce((a, b) => a + b, 0);
    return angles.map((own) => {
      let pull = 0;
      let sum = 0;
      angles.forEach((other, j) => {
        const w = sizes[j] * Math.exp(beta * (Math.cos(other - own) - 1));
        pull += w * Math.sin(other - own);
        sum += w;
      });
      return pull / (dynamics === "sa" ? sum : n);
    });
  }

  /** (1/n^2) sum_ij e^{beta (<x_i, x_j> - 1)}. */
  function meanEnergy(angles, sizes, beta) {
    const n = sizes.reduce((a, b) => a + b, 0);
    let sum = 0;
    angles.forEach((a, i) =>
      angles.forEach((b, j) => (sum += sizes[i] * sizes[j] * Math.exp(beta * (Math.cos(a - b) - 1)))),
    );
    return sum / (n * n);
  }

  // Dormand and Prince's pair of orders 5 and 4.
  const STAGES = [
    [1 / 5],
    [3 / 40, 9 / 40],
    [44 / 45, -56 / 15, 32 / 9],
    [19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729],
    [9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656],
    [35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84],
  ];
  const ERRORS = [71 / 57600, 0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40];

  const combine = (x, h, rates, weights) =>
    x.map((one, i) => one + h * weights.reduce((sum, w, s) => sum + w * rates[s][i], 0));

  /**
   * States at the given times, [{t, angles, sizes, of}], `of` the cluster of every token. Two clusters closer than
   * 1e-7 become one; steps adapt to `tolerance` in the angle, so that long stays cost few.
   */
  function trajectory(start, times, beta, dynamics, tolerance = 1e-9) {
    let angles = start.slice();
    let sizes = start.map(() => 1);
    let of = start.map((_, i) => i);
    let t = 0;
    let h = 0.01;
    const states = [];
    for (const end of times) {
      while (end - t > 1e-13 * end) {
        if (angles.length === 1) {
          t = end;
          break;
        }
        const step = Math.min(h, end - t);
        const field = (x) => velocity(x, sizes, beta, dynamics);
        const rates = [field(angles)];
        let next = angles;
        for (const weights of STAGES) rates.push(field((next = combine(angles, step, rates, weights))));
        const gap =
          Math.max(
            ...combine(
              angles.map(() => 0),
              step,
              rates,
              ERRORS,
            ).map(Math.abs),
          ) / tolerance;
        if (gap <= 1) {
          angles = next;
          t += step;
          [angles, sizes, of] = merge(angles, sizes, of);
        }
        if (gap > 1 || step === h) h = step * Math.min(5, Math.max(0.2, 0.9 * (gap + 1e-12) ** -0.2));
      }
      states.push({ t: end, angles, sizes, of });
    }
    return states;
  }

  function merge(angles, sizes, of) {
    for (let i = 0; i < angles.length; i++) {
      for (let j = i + 1; j < angles.length; j++) {
        const apart = Math.atan2(Math.sin(angles[j] - angles[i]), Math.cos(angles[j] - angles[i]));
        if (Math.abs(apart) > 1e-7) continue;
        const size = sizes[i] + sizes[j];
        const middle = angles[i] + (apart * sizes[j]) / size;
        const drop = (list) => list.filter((_, k) => k !== j);
        const joined = [
          drop(angles.map((a, k) => (k === i ? middle : a))),
          drop(sizes.map((m, k) => (k === i ? size : m))),
        ];
        return merge(
          ...joined,
          of.map((c) => (c === j ? i : c > j ? c - 1 : c)),
        );
      }
    }
    return [angles, sizes, of];
  }

  /** Sizes and mean angles of the connected components of the pairs with <x, y> > merged. */
  function clusters({ angles, sizes }, merged) {
    const label = angles.map((_, i) => i);
    const find = (i) => (label[i] === i ? i : find(label[i]));
    angles.forEach((a, i) => angles.forEach((b, j) => Math.cos(a - b) > merged && (label[find(i)] = find(j))));
    const found = new Map();
    angles.forEach((a, i) => {
      const one = found.get(find(i)) || { size: 0, x: 0, y: 0 };
      found.set(find(i), {
        size: one.size + sizes[i],
        x: one.x + sizes[i] * Math.cos(a),
        y: one.y + sizes[i] * Math.sin(a),
      });
    });
    return [...found.values()].map(({ size, x, y }) => ({ size, angle: Math.atan2(y, x) }));
  }

  const least = ({ angles }) => Math.min(...angles.flatMap((a) => angles.map((b) => Math.cos(a - b))));

  function clusterRate(angle, beta, a, b, dynamics) {
    const w = Math.exp(beta * (Math.cos(angle) - 1));
    return -Math.sin(angle) * (dynamics === "sa" ? (b * w) / (a + b * w) + (a * w) / (b + a * w) : w);
  }

  /** Nodes and weights of Gauss and Legendre on [-1, 1], by Newton's method. */
  function legendre(count) {
    return Array.from({ length: count }, (_, i) => {
      let x = Math.cos((Math.PI * (i + 0.75)) / (count + 0.5));
      let slope = 1;
      for (let round = 0; round < 20; round++) {
        let [p, before] = [x, 1];
        for (let k = 2; k <= count; k++) [p, before] = [((2 * k - 1) * x * p - (k - 1) * before) / k, p];
        slope = (count * (x * p - before)) / (x * x - 1);
        x -= p / slope;
        if (Math.abs(p / slope) < 1e-15) break;
      }
      return [x, 2 / ((1 - x * x) * slope * slope)];
    });
  }
  const NODES = legendre(200);

  /** Time in which two clusters of a and b tokens at angle `start` come as close as `end`. */
  function clusterTime(beta, a, b, start, end, dynamics) {
    const half = (start - end) / 2;
    return NODES.reduce(
      (sum, [x, w]) => sum - (half * w) / clusterRate(half * x + (start + end) / 2, beta, a, b, dynamics),
      0,
    );
  }

  // The plot.

  const FIRST = 0.1;
  const COUNT = 260;
  const SECONDS = 11;

  function solve(start, beta, dynamics, merged) {
    const longest = 1e9;
    const grid = (last) => Array.from({ length: COUNT }, (_, i) => FIRST * (last / FIRST) ** (i / (COUNT - 1)));
    const coarse = trajectory(start, grid(longest), beta, dynamics, 1e-7);
    const done = coarse.find((state) => least(state) > merged);
    const last = 10 ** Math.max(2, Math.ceil(Math.log10(done ? done.t : longest) + 0.3));
    const states = [{ t: 0, angles: start, sizes: start.map(() => 1), of: start.map((_, i) => i) }];
    return { last, states: states.concat(trajectory(start, grid(last), beta, dynamics)) };
  }

  function draw(place, { parameters, data }) {
    const state = controls(place, parameters, () => change());
    const bar = html(place, "div", { class: "zoo-controls" });
    const clock = html(bar, "div", { class: "zoo-control" });
    const label = html(clock, "label", { for: "zoo-clock" });
    html(label, "i", {}, "t");
    label.append(" time");
    const shown = html(clock, "output", { for: "zoo-clock" });
    const slider = html(clock, "input", { type: "range", id: "zoo-clock", min: 0, max: COUNT, step: 1, value: 0 });
    const button = html(html(bar, "div"), "button", { type: "button" }, "Play");

    const panels = html(place, "div", { class: "zoo-panels" });
    const circle = html(panels, "figure");
    const globe = svg(circle, "svg", {
      role: "img",
      "aria-label": "Tokens on the circle",
      viewBox: "-1.08 -1.08 2.16 2.16",
    });
    globe.style.maxHeight = "23rem";
    const energy = new Chart(panels, { label: "Normalised energy over time", shape: (w) => Math.min(0.8 * w, 368) });
    const says = html(place, "p", { class: "zoo-says", role: "status" });
    let run;
    let frame = 0;
    let playing = null;

    const hue = (angle) => `hsl(${Math.round((angle * 180) / Math.PI)} 62% 52%)`;

    function change() {
      const { beta, dynamics } = state;
      const start = data.starts[state.n];
      run = solve(start, beta, dynamics, data.merged);
      const { states, last } = run;
      const points = states.slice(1).map((one) => [one.t, meanEnergy(one.angles, one.sizes, beta)]);
      const found = states.map((one) => clusters(one, data.merged));
      const level = (one) => one.reduce((sum, { size }) => sum + size * size, 0) / state.n ** 2;

      // levels of point clusters on which the energy stays while time doubles
      const stays = [];
      for (let i = 1, since = 1; i <= found.length; i++) {
        if (i < found.length && found[i].length === found[since].length) continue;
        const last = states[i - 1];
        const near = Math.abs(meanEnergy(last.angles, last.sizes, beta) - level(found[i - 1])) < 0.03;
        if (last.t > 2 * states[since].t && near && found[i - 1].length <= 6) stays.push(found[i - 1]);
        since = i;
      }
      const marks = stays.map((one) => ({
        across: level(one),
        style: "dotted",
        text: one
          .map(({ size }) => size)
          .sort((a, b) => b - a)
          .join(" + "),
        at: "left",
      }));

      // the two-cluster equation from the first of the times with two clusters that have become points
      const pair = states.findIndex((one) => one.angles.length === 2 && least(one) < data.merged);
      let sentence = "";
      if (pair > 0) {
        const { angles, sizes, t } = states[pair];
        const angle = Math.acos(Math.cos(angles[1] - angles[0]));
        const end = t + clusterTime(beta, ...sizes, angle, Math.acos(data.merged), dynamics);
        const scale = Math.exp(beta * (1 - Math.cos(angle)));
        marks.push({ upright: end, style: "theory", colour: 2, name: "one cluster, by the two-cluster equation" });
        sentence =
          `Two clusters of ${Math.max(...sizes)} and ${Math.min(...sizes)} tokens at the angle φ = ${number(angle)} ` +
          `meet at t = ${number(end)}; the scale exp(β(1 − cos φ)) is ${number(scale)}.`;
      } else {
        const done = states.find((one) => least(one) > data.merged);
        sentence = done ? `One cluster at t = ${number(done.t)}.` : "";
      }
      const measured = data.measured.beta.indexOf(beta);
      if (measured >= 0 && state.n === data.measured.n && dynamics === "sa") {
        const line = data.measured.times
          .map((t, i) => [t, data.measured.energy[i][measured]])
          .filter(([t]) => t >= FIRST);
        marks.push({ line, colour: 3, style: "thin", name: "the authors' integrator (weight kinetic)" });
      }
      marks.push({ line: points, colour: 1, style: "bold", name: "exact flow" });
      energy.show({
        x: { domain: [FIRST, last], log: true, title: "time _t_" },
        y: { domain: [0, 1.05], title: "normalised energy" },
        marks,
      });
      says.textContent =
        sentence + " Dotted: energies of the clusters of these sizes, the sum of their squares over n².";
      show(Math.min(frame, COUNT));
    }

    function show(i) {
      frame = i;
      slider.value = i;
      const { t, angles, of } = run.states[i];
      const count = clusters(run.states[i], data.merged).length;
      shown.textContent = `${number(t)}, ${count} cluster${count > 1 ? "s" : ""}`;
      slider.setAttribute("aria-valuetext", shown.textContent);
      globe.replaceChildren();
      svg(globe, "circle", { r: 1, fill: "none", stroke: "currentColor", "stroke-width": 0.008, opacity: 0.35 });
      const start = run.states[0].angles;
      of.forEach((cluster, token) => {
        // the way of the token in polar coordinates: the past is inside, one state a ring
        const way = [];
        let before = null;
        for (let k = Math.max(1, i - COUNT); k <= i; k++) {
          const one = run.states[k];
          const a = one.angles[one.of[token]];
          const turn = before === null ? 0 : Math.atan2(Math.sin(a - before), Math.cos(a - before));
          const pieces = Math.max(1, Math.ceil(Math.abs(turn) / 0.06));
          for (let j = 1; j <= pieces; j++) {
            const r = 1 - (0.8 * (i - k + 1 - j / pieces)) / COUNT;
            const angle = a - turn * (1 - j / pieces);
            way.push(`${(r * Math.cos(angle)).toFixed(3)} ${(-r * Math.sin(angle)).toFixed(3)}`);
          }
          before = a;
        }
        const colour = hue(start[token]);
        svg(globe, "polyline", {
          points: way.join(" "),
          fill: "none",
          stroke: colour,
          "stroke-width": 0.013,
          opacity: 0.6,
        });
        const a = angles[cluster];
        svg(globe, "circle", { cx: Math.cos(a), cy: -Math.sin(a), r: 0.05, fill: colour, opacity: 0.9 });
      });
      energy.over(
        i ? [{ dots: [[t, meanEnergy(angles, run.states[i].sizes, state.beta)]], colour: 1, size: 6, free: true }] : [],
      );
    }

    function play(on) {
      cancelAnimationFrame(playing);
      playing = null;
      button.textContent = on ? "Pause" : "Play";
      if (!on) return;
      const from = frame >= COUNT ? 0 : frame;
      let began = null;
      const tick = (now) => {
        began ??= now;
        const at = Math.min(COUNT, from + Math.floor(((now - began) / 1000 / SECONDS) * COUNT));
        if (at !== frame) show(at);
        if (at < COUNT) playing = requestAnimationFrame(tick);
        else play(false);
      };
      playing = requestAnimationFrame(tick);
    }

    button.addEventListener("click", () => play(playing === null));
    slider.addEventListener("input", () => {
      play(false);
      show(+slider.value);
    });
    change();
    if (window.matchMedia("(prefers-reduced-motion: reduce)").matches) {
      show(COUNT);
    } else {
      const seen = new IntersectionObserver((entries) => {
        if (!entries.some((one) => one.isIntersecting)) return;
        seen.disconnect();
        play(true);
      });
      seen.observe(globe);
    }
  }

  window.zoo.self_attention_dynamics = { clusterRate, clusterTime, clusters, meanEnergy, trajectory, velocity };
  mount("self_attention_dynamics", draw);
})();
