// Scaled residual nets: hidden states across the layers of nets drawn in the browser, against the exact mean square.
"use strict";

(() => {
  const { Chart, controls, html, mount, number } = window.zoo.plot;

  // The formulas of theory.py and zoo/depth/processes.py.

  /** (1 + L^{-2 beta}/2)^k = E|h_k|^2/|h_0|^2 for independent layers, as its logarithm. */
  const logGrowth = (depth, beta, layer = depth) => layer * Math.log1p(depth ** (-2 * beta) / 2);
  const meanSquareGrowth = (depth, beta) => Math.exp(logGrowth(depth, beta));
  const meanSquareChange = (depth, beta) => Math.expm1(logGrowth(depth, beta));

  /** Coefficients phi(s) with phi(s).phi(t) = exp(-(s - t)^2/(2 length^2)); sum_n phi_n(s) z_n is a smooth path. */
  function smoothFeatures(s, length) {
    const mean = 0.25 / length ** 2;
    const count = Math.ceil(mean + 9 * Math.sqrt(mean) + 30);
    const x = (s - 0.5) / length;
    const features = [];
    let value = Math.exp((-x * x) / 2);
    for (let n = 0; n < count; n++) {
      features.push(value);
      value *= x / Math.sqrt(n + 1);
    }
    return features;
  }

  /** Seeded standard normals: Marsaglia's polar method on the generator mulberry32. */
  function normals(seed) {
    let a = seed >>> 0;
    let spare = null;
    const uniform = () => {
      a = (a + 0x6d2b79f5) | 0;
      let t = Math.imul(a ^ (a >>> 15), 1 | a);
      t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
      return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    };
    return () => {
      if (spare !== null) {
        const x = spare;
        spare = null;
        return x;
      }
      for (;;) {
        const u = 2 * uniform() - 1;
        const v = 2 * uniform() - 1;
        const r = u * u + v * v;
        if (r >= 1 || r === 0) continue;
        const f = Math.sqrt((-2 * Math.log(r)) / r);
        spare = v * f;
        return u * f;
      }
    };
  }

  /**
   * Weights of variance 1/d of a net of at most `most` layers, V and W, row after row, layer after layer. A net of depth
   * L uses the layers 0, stride, 2 stride, … with stride = most/L: of smooth weights it reads one path at every depth.
   */
  function drawNet(process, { width, most, length }, seed) {
    const normal = normals(seed);
    const entries = width * width;
    const size = 1 / Math.sqrt(width);
    const start = Float64Array.from({ length: width }, normal);
    const stack = () => {
      const layers = new Float32Array(most * entries);
      if (process === "independent") return layers.map(() => normal() * size);
      const paths = smoothFeatures(0, length).map(() => Float32Array.from({ length: entries }, () => normal() * size));
      for (let k = 0; k < most; k++) {
        const row = layers.subarray(k * entries, (k + 1) * entries);
        smoothFeatures(k / most, length).forEach((feature, n) => {
          if (Math.abs(feature) < 1e-9) return;
          const path = paths[n];
          for (let i = 0; i < entries; i++) row[i] += feature * path[i];
        });
      }
      return layers;
    };
    return { width, most, start, V: stack(), W: stack() };
  }

  /**
   * h_{k+1} = h_k + L^-beta V relu(W h_k). Returns ln(|h_k|/|h_0|) for k = 0 … L and |h_L - h_0|/|h_0|. The map does not
   * change under scaling of h, so h is shrunk when it is large and nothing overflows.
   */
  function states({ width, most, start, V, W }, depth, beta) {
    const stride = most / depth;
    const scale = depth ** -beta;
    const h = Float64Array.from(start);
    const inner = new Float64Array(width);
    const norm = (x) => Math.sqrt(x.reduce((sum, one) => sum + one * one, 0));
    const base = norm(start);
    const logs = [0];
    let shrunk = 0;
    for (let k = 0; k < depth; k++) {
      const at = k * stride * width * width;
      for (let i = 0; i < width; i++) {
        let sum = 0;
        for (let j = 0; j < width; j++) sum += W[at + i * width + j] * h[j];
        inner[i] = sum > 0 ? sum : 0;
      }
      for (let i = 0; i < width; i++) {
        let sum = 0;
        for (let j = 0; j < width; j++) sum += V[at + i * width + j] * inner[j];
        h[i] += scale * sum;
      }
      let size = norm(h);
      if (size > 1e30) {
        for (let i = 0; i < width; i++) h[i] /= size;
        shrunk += Math.log(size);
        size = 1;
      }
      logs.push(shrunk + Math.log(size / base));
    }
    const back = Math.exp(-shrunk); // what is left of h_0 beside a state that was shrunk
    const gap = norm(h.map((one, i) => one - start[i] * back));
    return { logs, logChange: shrunk + Math.log(gap / base) };
  }

  // The plot.

  const TEN = Math.LN10;

  function draw(place, { parameters, data }) {
    const state = controls(place, parameters, () => update());
    const panels = html(place, "div", { class: "zoo-panels" });
    const layers = new Chart(panels, {
      label: "Norm of the hidden states across the layers",
      shape: (w) => Math.min(0.8 * w, 340),
    });
    const regimes = new Chart(panels, {
      label: "Change of the output against beta",
      shape: (w) => Math.min(0.8 * w, 340),
    });
    const says = html(place, "p", { class: "zoo-says", role: "status" });
    const drawn = {};
    const nets = (process) =>
      (drawn[process] ??= Array.from({ length: data.nets }, (_, i) => drawNet(process, data, data.seed + i)));
    const swept = {};

    /** Root mean square over the nets of |h_L - h_0|/|h_0|, as its logarithm to base ten, by beta. */
    function sweep(process, depth) {
      return (swept[process + depth] ??= data.betas.map((beta) => {
        const logs = nets(process).map((net) => 2 * states(net, depth, beta).logChange);
        const top = Math.max(...logs);
        const mean = logs.reduce((sum, one) => sum + Math.exp(one - top), 0) / logs.length;
        return [beta, 10 ** ((top + Math.log(mean)) / 2 / TEN)];
      }));
    }

    function update() {
      const { beta, depth, process } = state;
      const independent = process === "independent";
      const found = nets(process).map((net) => states(net, depth, beta));
      const every = Math.max(1, depth / 200);
      const thin = ({ logs }) => logs.map((one, k) => [k / depth, Math.exp(one)]).filter((_, k) => k % every === 0);
      const marks = [
        { lines: found.map(thin), colour: 1, style: "thin", name: `${data.nets} nets drawn here, _d_ = ${data.width}` },
      ];
      if (independent) {
        const curve = Array.from({ length: 101 }, (_, i) => [
          i / 100,
          Math.exp(logGrowth(depth, beta, (depth * i) / 100) / 2),
        ]);
        marks.push({ line: curve, style: "theory bold", name: "root mean square, exact" });
      }
      const ends = marks
        .flatMap((mark) => (mark.line ? [mark.line] : mark.lines))
        .flat()
        .map((point) => point[1]);
      const high = Math.max(2, ...ends) * 1.15;
      const low = Math.min(0.5, ...ends) / 1.15;
      layers.show({
        x: { domain: [0, 1], title: "layer _k_/_L_" },
        y: { domain: [low, high], log: true, title: "|_h_~k~| / |_h_~0~|" },
        marks,
      });

      const critical = data.critical[process];
      const lines = data.depths.map((one, i) => ({
        line: independent ? data.betas.map((b) => [b, Math.sqrt(meanSquareChange(one, b))]) : sweep(process, one),
        colour: [5, 3, 4][i],
        style: independent ? "theory" : "",
        name: `_L_ = ${one}`,
      }));
      const change = Math.exp(found.reduce((sum, one) => sum + one.logChange, 0) / found.length);
      regimes.show({
        x: { domain: [data.betas[0], data.betas[data.betas.length - 1]], title: "scaling _β_" },
        y: { domain: [1e-3, 1e4], log: true, title: "|_h_~L~ − _h_~0~| / |_h_~0~|" },
        marks: [
          { upright: critical, style: "dotted", text: `critical _β_ = ${number(critical)}` },
          ...lines,
          {
            dots: found.map((one) => [beta, Math.min(9e3, Math.max(1.1e-3, Math.exp(one.logChange)))]),
            colour: 1,
            name: "the nets",
          },
        ],
      });
      const limit = independent ? "a stochastic differential equation" : "an ordinary differential equation";
      const regime =
        beta < critical
          ? "below the critical value: outputs explode as L grows"
          : beta > critical
            ? "above the critical value: as L grows the net tends to the identity"
            : `the critical value: the net tends to ${limit}`;
      says.textContent =
        `β = ${number(beta)} is ${regime}. ` +
        `Here the change of the output is ${number(change)} (geometric mean over the nets).`;
    }
    update();
  }

  window.zoo.scaled_resnet = { drawNet, meanSquareChange, meanSquareGrowth, smoothFeatures, states };
  mount("scaled_resnet", draw);
})();
