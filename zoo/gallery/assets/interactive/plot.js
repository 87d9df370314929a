// Charts and sliders of the interactive plots: axes, lines, legends in SVG that follow the page's colours.
"use strict";

(() => {
  const zoo = (window.zoo = window.zoo || {});
  const SVG = "http://www.w3.org/2000/svg";

  const STYLE = `
.zoo-interactive { --zoo-1: #3366aa; --zoo-2: #cc5533; --zoo-3: #3a8a4b; --zoo-4: #885599; --zoo-5: #a37a00;
  --zoo-paper: var(--md-default-bg-color, #fff); font-size: 0.9rem; line-height: 1.45; margin: 1em 0; }
[data-md-color-scheme="slate"] .zoo-interactive { --zoo-1: #7fabea; --zoo-2: #f08a66; --zoo-3: #74c787;
  --zoo-4: #c39ad6; --zoo-5: #dcb84a; }
@media (prefers-color-scheme: dark) { body:not([data-md-color-scheme]) .zoo-interactive { --zoo-1: #7fabea;
  --zoo-2: #f08a66; --zoo-3: #74c787; --zoo-4: #c39ad6; --zoo-5: #dcb84a; --zoo-paper: #1b1d23; } }
.zoo-interactive .zoo-controls { display: grid; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr));
  gap: 0.35em 1.6em; margin-bottom: 0.8em; align-items: end; }
.zoo-interactive .zoo-control { display: grid; grid-template-columns: 1fr auto; column-gap: 0.8em; }
.zoo-interactive .zoo-control label i { font-family: "STIX Two Math", "Cambria Math", Cambria, Georgia, serif;
  font-size: 1.12em; padding-right: 0.1em; }
.zoo-interactive .zoo-control output { font-variant-numeric: tabular-nums; font-weight: 600; }
.zoo-interactive .zoo-control input[type="range"] { grid-column: 1 / 3; width: 100%; height: 2em; margin: 0;
  accent-color: var(--zoo-1); cursor: pointer; touch-action: pan-y; }
.zoo-interactive fieldset { border: 0; margin: 0; padding: 0; min-width: 0; }
.zoo-interactive legend { padding: 0; }
.zoo-interactive .zoo-choices { display: flex; flex-wrap: wrap; gap: 0 1.1em; min-height: 2em; align-items: center; }
.zoo-interactive .zoo-choices label { display: inline-flex; gap: 0.4em; align-items: center; cursor: pointer;
  min-height: 2em; }
.zoo-interactive .zoo-choices input { accent-color: var(--zoo-1); width: 1.1em; height: 1.1em; margin: 0; }
.zoo-interactive button { font: inherit; color: inherit; background: transparent; border: 1px solid currentColor;
  border-radius: 0.3em; min-width: 5.2em; min-height: 2.2em; padding: 0 0.9em; cursor: pointer; }
.zoo-interactive :is(button, input, .zoo-handle):focus-visible { outline: 2px solid var(--zoo-1); outline-offset: 2px; }
.zoo-interactive .zoo-panels { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(19rem, 100%), 1fr));
  gap: 1em 1.4em; align-items: start; }
.zoo-interactive .zoo-stack { display: grid; gap: 1em; min-width: 0; }
.zoo-interactive figure { margin: 0; min-width: 0; width: auto; max-width: none; }
.zoo-interactive figcaption { font-size: 0.82rem; text-align: left; max-width: none; margin: 0.15em 0 0; }
.zoo-interactive svg { display: block; width: 100%; overflow: visible; user-select: none; -webkit-user-select: none; }
.zoo-interactive .zoo-legend { display: flex; flex-wrap: wrap; gap: 0.1em 1.2em; }
.zoo-interactive .zoo-legend span { display: inline-flex; gap: 0.45em; align-items: center; }
.zoo-interactive .zoo-legend .zoo-name { display: inline; }
.zoo-interactive .zoo-legend svg { width: 26px; height: 10px; flex: none; }
.zoo-interactive .zoo-says { margin: 0.6em 0 0; font-size: 0.85rem; min-height: 3em; }
.zoo-interactive text { fill: currentColor; font-size: 12px; font-family: inherit; stroke: none; }
.zoo-interactive text.zoo-title { font-size: 13.5px; }
.zoo-interactive text.zoo-halo { paint-order: stroke; stroke: var(--zoo-paper); stroke-width: 4px;
  stroke-linejoin: round; }
.zoo-interactive .zoo-frame { fill: none; stroke: currentColor; stroke-width: 1; opacity: 0.55; }
.zoo-interactive .zoo-grid { fill: none; stroke: currentColor; stroke-width: 1; opacity: 0.1; }
.zoo-interactive .zoo-line { fill: none; stroke: currentColor; stroke-width: 1.8; stroke-linejoin: round;
  stroke-linecap: round; }
.zoo-interactive .zoo-fill { fill: currentColor; stroke: none; }
.zoo-interactive .zoo-theory { stroke-dasharray: 6 4; }
.zoo-interactive .zoo-dotted { stroke-dasharray: 1.5 4; }
.zoo-interactive .zoo-thin { stroke-width: 1; }
.zoo-interactive .zoo-faint { stroke-width: 1; opacity: 0.4; }
.zoo-interactive .zoo-bold { stroke-width: 2.6; }
.zoo-interactive .zoo-handle { cursor: grab; touch-action: none; }
.zoo-interactive .zoo-c1 { color: var(--zoo-1); } .zoo-interactive .zoo-c2 { color: var(--zoo-2); }
.zoo-interactive .zoo-c3 { color: var(--zoo-3); } .zoo-interactive .zoo-c4 { color: var(--zoo-4); }
.zoo-interactive .zoo-c5 { color: var(--zoo-5); }
`;

  // Numbers.

  const raise = (n) => String(n).replace(/[-0-9]/g, (c) => (c === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[+c]));

  /** A number as printed text: significant digits, a real minus sign, powers of ten where it is very large or small. */
  function number(x, digits = 3) {
    if (!Number.isFinite(x)) return x > 0 ? "∞" : "–";
    if (x === 0) return "0";
    const size = Math.floor(Math.log10(Math.abs(x)) + 1e-12);
    if (size < -3 || size > 4) {
      const head = (x / 10 ** size).toFixed(Math.min(digits - 1, 1)).replace(/\.0+$/, "");
      return (head === "1" ? "" : head.replace("-", "−") + " · ") + "10" + raise(size);
    }
    const text = x.toFixed(Math.max(digits - 1 - size, 0));
    return (text.includes(".") ? text.replace(/\.?0+$/, "") : text).replace("-", "−");
  }

  /** Maps [low, high] to [from, to], linearly or in the logarithm. */
  function scale([low, high], [from, to], log) {
    const f = log ? Math.log : (x) => x;
    const a = f(low);
    const b = f(high);
    const at = (x) => from + ((f(x) - a) / (b - a)) * (to - from);
    at.invert = (p) => {
      const x = a + ((p - from) / (to - from)) * (b - a);
      return log ? Math.exp(x) : x;
    };
    return at;
  }

  /** [value, label] of the ticks; few enough to read. */
  function ticks([low, high], log, count = 5) {
    if (!log) {
      const raw = (high - low) / count;
      const power = 10 ** Math.floor(Math.log10(raw));
      const step = power * [1, 2, 2.5, 5, 10].find((m) => m * power >= raw * 0.999);
      const first = Math.ceil(low / step - 1e-9);
      const found = [];
      for (let i = first; i * step <= high + step * 1e-9; i++)
        found.push([i * step, number(+(i * step).toPrecision(12))]);
      return found;
    }
    const first = Math.ceil(Math.log10(low) - 1e-9);
    const last = Math.floor(Math.log10(high) + 1e-9);
    if (last - first < 2) {
      const among = (multiples) => {
        const found = [];
        for (let e = first - 1; e <= last; e++) {
          for (const m of multiples) {
            const x = m * 10 ** e;
            if (x >= low * 0.999 && x <= high * 1.001) found.push([x, number(x)]);
          }
        }
        return found;
      };
      const found = among([1, 2, 5]);
      return found.length > 2 ? found : among([1, 2, 3, 4, 5, 6, 8]);
    }
    const stride = Math.ceil((last - first + 1) / (count + 2));
    const found = [];
    for (let e = Math.ceil(first / stride) * stride; e <= last; e += stride) {
      found.push([10 ** e, e >= -2 && e <= 3 ? number(10 ** e) : "10" + raise(e)]);
    }
    return found;
  }

  // Elements.

  function svg(parent, name, attributes = {}, text) {
    const one = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) one.setAttribute(key, value);
    if (text !== undefined) one.textContent = text;
    if (parent) parent.appendChild(one);
    return one;
  }

  function html(parent, name, attributes = {}, text) {
    const one = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) one.setAttribute(key, value);
    if (text !== undefined) one.textContent = text;
    if (parent) parent.appendChild(one);
    return one;
  }

  /** Text in which _x_ is italic and ~x~ a subscript. */
  function words(parent, text, attributes) {
    const one = svg(parent, "text", attributes);
    let low = false;
    for (const part of text.split(/(_[^_]+_|~[^~]+~)/).filter(Boolean)) {
      const mark = "_~".includes(part[0]) && part.length > 2 ? part[0] : "";
      const style = {};
      if (mark) Object.assign(style, { "font-style": "italic", "font-family": "Georgia, serif" });
      if (mark === "~") style["font-size"] = "0.75em";
      if (low !== (mark === "~")) style.dy = low ? -3 : 3;
      low = mark === "~";
      svg(one, "tspan", style, mark ? part.slice(1, -1) : part);
    }
    return one;
  }

  function path(points, x, y) {
    let d = "";
    let pen = "M";
    for (const [a, b] of points) {
      const p = x(a);
      const q = y(b);
      if (!Number.isFinite(p) || !Number.isFinite(q)) {
        pen = "M";
        continue;
      }
      d += pen + p.toFixed(1) + " " + q.toFixed(1);
      pen = "L";
    }
    return d;
  }

  const classes = (kind, mark) =>
    [
      kind,
      mark.colour && "zoo-c" + mark.colour,
      ...(mark.style || "")
        .split(" ")
        .filter(Boolean)
        .map((s) => "zoo-" + s),
    ]
      .filter(Boolean)
      .join(" ");

  /**
   * A chart that is drawn again when its width changes.
   *
   * label: what it shows, for screen readers. shape: height over width, or a function of the width in pixels.
   * show({x, y, marks}): axes {title, domain, log} and marks, each {line | dots | arrows | across | upright | star, …}
   * with colour 1 … 5, style ("theory", "faint", "thin", "bold", "dotted"), name (for the legend) and text.
   * over(marks): a layer on top, cheap to change.
   */
  class Chart {
    constructor(parent, { label, shape = 0.62 }) {
      this.figure = html(parent, "figure");
      this.svg = svg(this.figure, "svg", { role: "img", "aria-label": label });
      this.legend = html(this.figure, "figcaption", { class: "zoo-legend" });
      this.shape = typeof shape === "function" ? shape : (width) => shape * width;
      this.top = [];
      this.clip = "zoo-clip-" + (Chart.count = (Chart.count || 0) + 1);
      new ResizeObserver(() => {
        if (this.spec && Math.abs(this.figure.clientWidth - this.width) > 1) this.show(this.spec);
      }).observe(this.figure);
    }

    show(spec) {
      this.spec = spec;
      this.width = this.figure.clientWidth || 320;
      const height = Math.round(this.shape(this.width));
      const [left, right, top, bottom] = [spec.y.title === null ? 12 : 52, this.width - 8, 14, height - 40];
      this.box = { left, right, top, bottom };
      this.x = scale(spec.x.domain, [left, right], spec.x.log);
      this.y = scale(spec.y.domain, [bottom, top], spec.y.log);
      this.svg.setAttribute("viewBox", `0 0 ${this.width} ${height}`);
      this.svg.setAttribute("height", height);
      this.held = this.grip && document.activeElement === this.grip.knob;
      this.svg.replaceChildren();
      const clip = svg(svg(this.svg, "defs"), "clipPath", { id: this.clip });
      svg(clip, "rect", { x: left - 1, y: top - 4, width: right - left + 2, height: bottom - top + 6 });
      this.axes();
      const inner = svg(this.svg, "g", { "clip-path": `url(#${this.clip})` });
      this.labels = svg(this.svg, "g");
      for (const mark of spec.marks) this.mark(inner, this.labels, mark);
      this.layer = svg(this.svg, "g", { "clip-path": `url(#${this.clip})` });
      this.layerLabels = svg(this.svg, "g");
      this.over(this.top);
      this.key(spec.marks);
    }

    over(marks) {
      this.top = marks;
      if (!this.layer) return;
      this.layer.replaceChildren();
      this.layerLabels.replaceChildren();
      for (const mark of marks) this.mark(this.layer, this.layerLabels, mark);
    }

    axes() {
      const { left, right, top, bottom } = this.box;
      const { x, y } = this.spec;
      const few = Math.max(3, Math.min(6, Math.round((right - left) / 70)));
      for (const [value, text] of x.ticks || ticks(x.domain, x.log, few)) {
        const p = this.x(value).toFixed(1);
        svg(this.svg, "path", { class: "zoo-grid", d: `M${p} ${top}V${bottom}` });
        svg(this.svg, "path", { class: "zoo-frame", d: `M${p} ${bottom}v4` });
        svg(this.svg, "text", { x: p, y: bottom + 17, "text-anchor": "middle" }, text);
      }
      for (const [value, text] of y.ticks || ticks(y.domain, y.log, Math.max(3, Math.round((bottom - top) / 48)))) {
        const q = this.y(value);
        svg(this.svg, "path", { class: "zoo-grid", d: `M${left} ${q.toFixed(1)}H${right}` });
        svg(this.svg, "path", { class: "zoo-frame", d: `M${left} ${q.toFixed(1)}h-4` });
        svg(this.svg, "text", { x: left - 7, y: (q + 4).toFixed(1), "text-anchor": "end" }, text);
      }
      svg(this.svg, "path", { class: "zoo-frame", d: `M${left} ${top}V${bottom}H${right}` });
      words(this.svg, x.title, { class: "zoo-title", x: (left + right) / 2, y: bottom + 34, "text-anchor": "middle" });
      const turn = `translate(13 ${(top + bottom) / 2}) rotate(-90)`;
      if (y.title) words(this.svg, y.title, { class: "zoo-title", transform: turn, "text-anchor": "middle" });
    }

    mark(inner, labels, mark) {
      const { left, right, top, bottom } = this.box;
      if (mark.line) {
        svg(inner, "path", { class: classes("zoo-line", mark), d: path(mark.line, this.x, this.y) });
      } else if (mark.lines) {
        const d = mark.lines.map((one) => path(one, this.x, this.y)).join("");
        svg(inner, "path", { class: classes("zoo-line", mark), d });
      } else if (mark.dots) {
        const r = mark.size || 3;
        for (const [a, b] of mark.dots) {
          const attributes = {
            class: classes("zoo-fill", mark),
            r,
            cx: this.x(a).toFixed(1),
            cy: this.y(b).toFixed(1),
          };
          svg(mark.free ? labels : inner, "circle", attributes);
        }
      } else if (mark.stars) {
        for (const [a, b] of mark.stars) {
          const points = [];
          for (let i = 0; i < 10; i++) {
            const r = i % 2 ? 3 : 7.5;
            const angle = (Math.PI * i) / 5 - Math.PI / 2;
            points.push(
              `${(this.x(a) + r * Math.cos(angle)).toFixed(1)},${(this.y(b) + r * Math.sin(angle)).toFixed(1)}`,
            );
          }
          svg(labels, "polygon", { class: classes("zoo-fill", mark), points: points.join(" ") });
        }
      } else if (mark.arrows) {
        // [x, y, dx, dy] with the last two in pixels, up positive
        let d = "";
        for (const [a, b, dx, dy] of mark.arrows) {
          const [p, q] = [this.x(a), this.y(b)];
          const [u, v] = [p + dx / 2, q - dy / 2];
          const f = (n) => n.toFixed(1);
          d += `M${f(p - dx / 2)} ${f(q + dy / 2)}L${f(u)} ${f(v)}`;
          d += `M${f(u - dx * 0.32 - dy * 0.2)} ${f(v + dy * 0.32 - dx * 0.2)}L${f(u)} ${f(v)}`;
          d += `L${f(u - dx * 0.32 + dy * 0.2)} ${f(v + dy * 0.32 + dx * 0.2)}`;
        }
        svg(inner, "path", { class: classes("zoo-line", mark), d });
      } else if (mark.across !== undefined) {
        const q = this.y(mark.across);
        svg(inner, "path", { class: classes("zoo-line", mark), d: `M${left} ${q.toFixed(1)}H${right}` });
        if (mark.text && q > top - 2 && q < bottom + 2) {
          const [at, anchor] = mark.at === "left" ? [left + 5, "start"] : [right - 3, "end"];
          words(labels, mark.text, {
            class: "zoo-halo",
            x: at,
            y: (q - 4 + (mark.below ? 17 : 0)).toFixed(1),
            "text-anchor": anchor,
          });
        }
      } else if (mark.upright !== undefined) {
        const p = this.x(mark.upright);
        svg(inner, "path", { class: classes("zoo-line", mark), d: `M${p.toFixed(1)} ${top}V${bottom}` });
        if (mark.text && p > left - 2 && p < right + 2) {
          const late = p > (left + right) / 2;
          const attributes = {
            class: "zoo-halo",
            x: (p + (late ? -6 : 6)).toFixed(1),
            y: top + 12 + 16 * (mark.row || 0),
          };
          words(labels, mark.text, { ...attributes, "text-anchor": late ? "end" : "start" });
        }
      }
    }

    key(marks) {
      this.legend.replaceChildren();
      for (const mark of marks.filter((one) => one.name)) {
        const entry = html(this.legend, "span");
        const sample = svg(entry, "svg", { viewBox: "0 0 26 10", "aria-hidden": "true" });
        if (mark.stars) svg(sample, "text", { x: 13, y: 10, "text-anchor": "middle" }, "★");
        else if (mark.dots) svg(sample, "circle", { class: classes("zoo-fill", mark), cx: 13, cy: 5, r: 3 });
        else svg(sample, "path", { class: classes("zoo-line", mark), d: "M0 5H26" });
        const text = html(entry, "span", { class: "zoo-name" });
        mark.name.split("_").forEach((part, i) => (i % 2 ? html(text, "i", {}, part) : text.append(part)));
      }
    }

    /** A point that is dragged, or moved by the arrow keys: {at, step, low, high, label, text, move([x, y])}. */
    handle({ at, step, low, high, label, text, move }) {
      const cut = (p) => p.map((x) => Math.min(high, Math.max(low, x)));
      const to = (event) => {
        const box = this.svg.getBoundingClientRect();
        move(cut([this.x.invert(event.clientX - box.left), this.y.invert(event.clientY - box.top)]));
      };
      const attributes = {
        class: "zoo-handle",
        tabindex: 0,
        role: "slider",
        "aria-label": label,
        "aria-valuenow": at[0],
        "aria-valuetext": text,
      };
      if (!this.grip) {
        this.svg.setAttribute("role", "group"); // an image would hide the handle from a screen reader
        const inside = (event) => {
          const { left, right, top, bottom } = this.box;
          const box = this.svg.getBoundingClientRect();
          const [p, q] = [event.clientX - box.left, event.clientY - box.top];
          return p >= left && p <= right && q >= top && q <= bottom;
        };
        this.svg.addEventListener("pointerdown", (event) => {
          // a finger that does not take the point may want to scroll; a tap is a click
          if (!inside(event) || (event.pointerType === "touch" && !event.target.closest(".zoo-handle"))) return;
          this.dragging = event.pointerId;
          this.svg.setPointerCapture(event.pointerId);
          this.grip.to(event);
        });
        this.svg.addEventListener("click", (event) => inside(event) && this.grip.to(event));
        this.svg.addEventListener("pointermove", (event) => event.pointerId === this.dragging && this.grip.to(event));
        for (const end of ["pointerup", "pointercancel"]) this.svg.addEventListener(end, () => (this.dragging = null));
      }
      const knob = svg(this.svg, "g", attributes);
      svg(knob, "circle", { r: 16, cx: this.x(at[0]), cy: this.y(at[1]), fill: "transparent" });
      svg(knob, "circle", { class: "zoo-fill zoo-c2", r: 6, cx: this.x(at[0]), cy: this.y(at[1]) });
      knob.addEventListener("keydown", (event) => {
        const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
        if (!way) return;
        event.preventDefault();
        move(cut([at[0] + way[0] * step, at[1] + way[1] * step]));
      });
      if (this.grip) this.grip.knob.remove();
      this.grip = { knob, to };
      if (this.held) knob.focus();
    }
  }

  // Controls.

  /** Sliders and buttons for the parameters; `change` is called with {name: value} now and after every move. */
  function controls(parent, parameters, change) {
    const box = html(parent, "div", { class: "zoo-controls" });
    const state = {};
    for (const one of parameters) {
      state[one.name] = one.start;
      const id = "zoo-" + one.name;
      if (typeof one.start === "string") {
        const group = html(box, "fieldset", { class: "zoo-control" });
        html(group, "legend", {}, one.says);
        const row = html(group, "div", { class: "zoo-choices" });
        for (const value of one.values) {
          const label = html(row, "label");
          const input = html(label, "input", { type: "radio", name: id, value });
          input.checked = value === one.start;
          label.append(value);
          input.addEventListener("change", () => {
            state[one.name] = value;
            change(state);
          });
        }
        continue;
      }
      const control = html(box, "div", { class: "zoo-control" });
      const label = html(control, "label", { for: id });
      if (one.symbol) html(label, "i", {}, one.symbol);
      label.append(" " + one.says);
      const output = html(control, "output", { for: id });
      const input = html(control, "input", { type: "range", id, min: 0, max: one.values.length - 1, step: 1 });
      input.value = one.values.indexOf(one.start);
      const tell = () => {
        state[one.name] = one.values[input.value];
        output.textContent = number(state[one.name], 4);
        input.setAttribute("aria-valuetext", output.textContent);
      };
      tell();
      input.addEventListener("input", () => {
        tell();
        change(state);
      });
    }
    return state;
  }

  /** Calls draw(div, {parameters, data}) if the page has a place for the system. */
  function mount(system, draw) {
    const place = document.querySelector(`.zoo-interactive[data-system="${system}"]`);
    if (!place) return;
    if (!document.getElementById("zoo-interactive-style")) {
      html(document.head, "style", { id: "zoo-interactive-style" }, STYLE);
    }
    place.replaceChildren();
    draw(place, JSON.parse(document.getElementById("zoo-interactive-data").textContent));
  }

  zoo.plot = { Chart, controls, html, mount, number, scale, svg, ticks };
})();
