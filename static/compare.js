// <td-compare data-src="/compare/metrics.json?jobs=1,2">: the losses of several runs laid over each other (uPlot).
//
// Data: GET data-src -> {"series": {"1": {"loss": [[steps], [values]], "eval_loss": …}}, "steps": {"1": total}}.
// [data-plot=NAME] holds one plot and its legend; [data-line=RUN] is the mark whose colour and dashes the run's line takes;
// [data-show=RUN] switches it. Live: `changed` (any job moved) fetches again, at most every few seconds and only while looked at.

const { formats } = globalThis.tunedeck; // ui.js runs before this module
const FEW = 40; // fewer points are drawn as dots, and are not smoothed
const PAUSE = 5_000;

/** Averaged forwards and backwards, as the chart of one run is. */
function smooth(values) {
  if (values.length < FEW) return values;
  const keep = Math.min(0.97, 1 - 24 / values.length);
  const average = (list) => {
    let [mean, weight] = [0, 0];
    return list.map((value) => {
      mean = mean * keep + value * (1 - keep);
      weight = weight * keep + 1 - keep;
      return mean / weight;
    });
  };
  const back = average([...values].reverse()).reverse();
  return average(values).map((value, i) => (value + back[i]) / 2);
}

class Compare extends HTMLElement {
  connectedCallback() {
    this.runs = [...this.querySelectorAll("[data-line]")].map((mark) => ({ id: mark.dataset.line, mark }));
    this.plots = [...this.querySelectorAll("[data-plot]")].map((box) => ({ box, name: box.dataset.plot, uplot: null }));
    this.on = {};
    this.stop = new AbortController();
    const { signal } = this.stop;
    for (const box of this.querySelectorAll("[data-toggle]")) {
      this.on[box.dataset.toggle] = box.checked;
      box.addEventListener("change", () => this.toggle(box.dataset.toggle, box.checked), { signal });
    }
    for (const box of this.querySelectorAll("[data-show]")) box.addEventListener("change", () => this.build(), { signal });
    document.addEventListener("themechange", () => this.build(), { signal });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.build(), { signal });
    document.addEventListener("changed", () => this.again(), { signal });
    this.resizer = new ResizeObserver(() => this.plots.forEach((plot) => plot.uplot?.setSize(this.size(plot))));
    for (const plot of this.plots) this.resizer.observe(this.area(plot));
    this.load();
  }

  disconnectedCallback() {
    this.stop.abort();
    this.resizer.disconnect();
    clearTimeout(this.timer);
    for (const plot of this.plots) plot.uplot?.destroy();
  }

  area(plot) {
    return plot.box.querySelector(".chart-plot");
  }

  size(plot) {
    const area = this.area(plot);
    return { width: Math.max(120, area.clientWidth), height: area.clientHeight };
  }

  toggle(what, on) {
    this.on[what] = on;
    this.build();
  }

  again() {
    if (this.timer || document.hidden) return;
    this.timer = setTimeout(() => {
      this.timer = 0;
      this.load();
    }, PAUSE);
  }

  async load() {
    try {
      const answer = await fetch(this.dataset.src, { headers: { Accept: "application/json" } });
      if (!answer.ok) throw new Error(String(answer.status));
      this.data = await answer.json();
    } catch {
      if (!this.data) this.say((note) => note.dataset.error);
      return;
    }
    if (this.isConnected) this.build();
  }

  say(words) {
    for (const note of this.querySelectorAll("[data-note]")) {
      note.hidden = false;
      note.textContent = words(note);
    }
  }

  shows(run) {
    return this.querySelector(`[data-show="${run.id}"]`).checked;
  }

  /** [x, y] of a run: x in steps, or in percent of the steps it is to take. */
  points(run, name) {
    const [steps, values] = this.data.series[run.id]?.[name] ?? [[], []];
    const total = this.data.steps[run.id] || steps.at(-1) || 1;
    return [this.on.share ? steps.map((step) => (100 * step) / total) : steps, values];
  }

  build() {
    if (this.data) for (const plot of this.plots) this.draw(plot);
  }

  draw(plot) {
    plot.uplot?.destroy();
    plot.uplot = null;
    plot.runs = this.runs.filter((run) => this.shows(run) && this.points(run, plot.name)[0].length);
    const note = plot.box.querySelector("[data-note]");
    note.hidden = plot.runs.length > 0;
    note.textContent = note.dataset.empty;
    this.legend(plot);
    if (!plot.runs.length) return;
    const lines = plot.runs.map((run) => this.points(run, plot.name));
    const table = uPlot.join(lines.map(([x, y]) => [x, this.on.smooth ? smooth(y) : y]));
    plot.uplot = new uPlot(this.options(plot, lines), table, this.area(plot));
    this.legend(plot);
  }

  options(plot, lines) {
    const style = getComputedStyle(this.area(plot));
    const axis = { stroke: style.color, font: `12px ${getComputedStyle(document.body).fontFamily}`, ticks: { show: false } };
    const grid = { stroke: style.borderTopColor, width: 1 };
    const each = (write) => (_, ticks) => ticks.map((tick) => (tick === null ? null : write(tick)));
    const step = (tick) => (this.on.share ? `${formats.number(tick)} %` : Number.isInteger(tick) ? formats.number(tick) : "");
    const value = (tick) => tick.toLocaleString("en", { notation: "compact", maximumFractionDigits: 2 });
    const series = plot.runs.map((run, i) => {
      const line = getComputedStyle(run.mark.querySelector("line"));
      const dash = line.strokeDasharray === "none" ? undefined : [6, 4];
      const points = { show: lines[i][0].length < FEW, size: 5, fill: line.stroke };
      return { stroke: line.stroke, width: 1.75, dash, spanGaps: true, points };
    });
    return {
      ...this.size(plot),
      series: [{}, ...series],
      axes: [
        { ...axis, grid: { show: false }, size: 28, space: 72, values: each(step) },
        { ...axis, grid, size: 56, space: 40, gap: 6, values: each(value) },
      ],
      scales: { x: { time: false }, y: { distr: this.on.log ? 3 : 1 } },
      legend: { show: false },
      cursor: { y: false, points: { size: 7 }, focus: { prox: 24 }, sync: { key: "compare", scales: ["x", null] } },
      focus: { alpha: 0.25 },
      padding: [8, 18, 0, 0],
      hooks: { setCursor: [() => this.legend(plot)] },
    };
  }

  /** Values under the cursor, or the last ones; the same as a sentence for screen readers. */
  legend(plot) {
    const at = plot.uplot?.cursor.idx ?? null;
    const x = at === null ? Infinity : plot.uplot.data[0][at];
    const place = plot.box.querySelector("[data-at]");
    const pattern = this.on.share ? place.dataset.share : place.dataset.step;
    place.textContent = at === null ? "" : pattern.replace("{n}", formats.number(x));
    const said = [];
    for (const run of this.runs) {
      const item = plot.box.querySelector(`[data-value="${run.id}"]`);
      const [steps, values] = this.points(run, plot.name);
      const i = steps.findLastIndex((step) => step <= x);
      item.hidden = !this.shows(run);
      item.querySelector("b").textContent = i < 0 ? "–" : formats.loss(values[i]);
      if (!item.hidden) said.push(`${item.title}: ${item.querySelector("b").textContent}`);
    }
    const area = this.area(plot);
    if (at === null) area.setAttribute("aria-label", area.dataset.summary.replace("{title}", area.dataset.title).replace("{values}", said.join(", ")));
  }
}

customElements.define("td-compare", Compare);
