// <td-chart data-src="/jobs/1/metrics.json" data-series="loss,eval_loss">: one live line chart (uPlot), drawn at most once a frame.
//
// Data: GET data-src -> {"series": {"loss": [[steps], [values]], …}, "seq": n}. Charts with the same address share one request.
// Live: hx-sse 4.0.1 turns each NAMED message of the stream into a DOM event of that name on the element with hx-sse:connect
// (CustomEvent, bubbles; detail = {data: text, id: the message's id}) and swaps only unnamed ones. So this file listens for
//   metric  detail.data = {"step": 12, "values": {"loss": 1.23}, "attempt": 1}; events with id <= seq are already in the data
//   reset   the server could not replay (too far behind): fetch again
// on [data-stream-root] around the chart, else on document. A step that comes again (a later attempt) replaces what followed it.
// hx-sse reconnects by itself with the Last-Event-ID header; the address keeps the ?after= of the page for the first request.

const { streamOf, payload, formats } = globalThis.tunedeck; // ui.js runs before this module
const MAX_POINTS = 20_000; // beyond it the server thins better than we do: fetch again
const FEW = 40; // fewer points are drawn as dots, and are not smoothed
const requests = new Map();

// Shared by the charts that are made together, and by no later one: it has not heard what came in between.
function fetchSeries(src) {
  if (!requests.has(src)) {
    const request = fetch(src, { headers: { Accept: "application/json" } }).then((answer) => {
      if (!answer.ok) throw new Error(`${src}: ${answer.status}`);
      return answer.json();
    });
    requests.set(src, request);
    setTimeout(() => requests.delete(src));
  }
  return requests.get(src);
}

/** Exponential moving average with its start corrected. */
function average(values, keep) {
  let mean = 0;
  let weight = 0;
  return values.map((value) => {
    mean = mean * keep + value * (1 - keep);
    weight = weight * keep + 1 - keep;
    return mean / weight;
  });
}

/** Averaged forwards and backwards, so that the smooth line does not lag behind; too few points stay as they are. */
function smooth(values) {
  if (values.length < FEW) return values;
  const keep = Math.min(0.97, 1 - 24 / values.length);
  const back = average([...values].reverse(), keep).reverse();
  return average(values, keep).map((value, i) => (value + back[i]) / 2);
}

const faint = (colour) => colour.replace(/^rgb\((.*)\)$/, "rgba($1, 0.36)");

class Chart extends HTMLElement {
  connectedCallback() {
    this.names = this.dataset.series.split(",");
    this.plotBox = this.querySelector(".chart-plot");
    this.note = this.querySelector("[data-note]");
    this.at = this.querySelector("[data-at]");
    this.labels = this.names.map((name) => this.querySelector(`[data-name="${CSS.escape(name)}"]`));
    this.scale = { log: this.dataset.log !== undefined, smooth: this.dataset.smooth !== undefined };
    this.series = new Map(this.names.map((name) => [name, [[], []]]));
    this.stop = new AbortController();
    this.listen();
    this.load();
  }

  disconnectedCallback() {
    this.stop.abort();
    this.resizer.disconnect();
    this.plot?.destroy();
    this.plot = null;
  }

  listen() {
    const { signal } = this.stop;
    const source = streamOf(this);
    source.addEventListener("metric", (event) => this.add(event), { signal });
    source.addEventListener("reset", (event) => event.detail && this.load(), { signal });
    const redraw = () => this.build();
    document.addEventListener("themechange", redraw, { signal });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw, { signal });
    for (const box of this.querySelectorAll("[data-toggle]")) {
      box.addEventListener("change", () => this.toggle(box.dataset.toggle, box.checked), { signal });
    }
    this.resizer = new ResizeObserver(() => this.plot?.setSize(this.size()));
    this.resizer.observe(this.plotBox);
  }

  toggle(what, on) {
    this.scale[what] = on;
    this.build();
  }

  async load() {
    const early = (this.early = []); // events that come before the answer: it may be older than they are
    try {
      const answer = await fetchSeries(this.dataset.src);
      if (!this.isConnected || early !== this.early) return;
      this.seq = answer.seq ?? 0;
      for (const name of this.names) {
        const [steps, values] = answer.series[name] ?? [[], []];
        this.series.set(name, [[...steps], [...values]]);
      }
      this.build();
    } catch {
      if (early !== this.early) return;
      this.note.hidden = false;
      this.note.textContent = this.note.dataset.error;
    }
    this.early = null;
    for (const event of early) this.add(event);
  }

  add(event) {
    if (this.early) return void this.early.push(event);
    const data = payload(event);
    if (!data?.values || (event.detail.id && Number(event.detail.id) <= this.seq)) return;
    for (const name of this.names) if (name in data.values) this.push(name, data.step, data.values[name]);
    if ((this.series.get(this.names[0])?.[0].length ?? 0) > MAX_POINTS) this.load();
    else this.redrawSoon();
  }

  push(name, step, value) {
    const [steps, values] = this.series.get(name);
    while (steps.length && steps.at(-1) >= step) {
      steps.pop();
      values.pop();
    }
    steps.push(step);
    values.push(value);
  }

  redrawSoon() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      if (!this.isConnected) return;
      if (this.plot) {
        this.plot.setData(this.table());
        this.settle();
      } else this.build();
    });
  }

  /** uPlot's aligned table: steps, then per name its line, and with smoothing its raw line too. */
  table() {
    const parts = this.names.flatMap((name) => {
      const [steps, values] = this.series.get(name);
      return this.scale.smooth ? [[steps, smooth(values)], [steps, values]] : [[steps, values]];
    });
    return uPlot.join(parts);
  }

  size() {
    return { width: Math.max(120, this.plotBox.clientWidth), height: this.plotBox.clientHeight };
  }

  lines() {
    return this.names.flatMap((name, index) => {
      const swatch = getComputedStyle(this.labels[index].querySelector(".swatch"));
      const dash = { dashed: [6, 4], dotted: [2, 3] }[swatch.borderTopStyle];
      const few = () => this.series.get(name)[0].length < FEW;
      const line = { stroke: swatch.color, width: 1.75, dash, spanGaps: true, points: { show: few, size: 5, fill: swatch.color } };
      const raw = { stroke: faint(swatch.color), width: 1, spanGaps: true, points: { show: false } };
      return this.scale.smooth ? [line, raw] : [line];
    });
  }

  axes() {
    const style = getComputedStyle(this.plotBox);
    const font = `12px ${getComputedStyle(document.body).fontFamily}`;
    const common = { stroke: style.color, font, ticks: { show: false } };
    const grid = { stroke: style.borderTopColor, width: 1 };
    const step = (tick) => (Number.isInteger(tick) ? formats.number(tick) : "");
    const each = (write) => (_, ticks) => ticks.map((tick) => (tick === null ? null : write(tick)));
    return [
      { ...common, grid: { show: false }, size: 28, space: 72, values: each(step) },
      { ...common, grid, size: 56, space: 40, gap: 6, values: each((tick) => this.short(tick)) },
    ];
  }

  build() {
    this.plot?.destroy();
    this.plot = null;
    const empty = [...this.series.values()].every(([steps]) => steps.length === 0);
    this.note.hidden = !empty;
    if (empty) return void (this.note.textContent = this.note.dataset.empty);
    const options = {
      ...this.size(),
      series: [{}, ...this.lines()],
      axes: this.axes(),
      scales: { x: { time: false }, y: { distr: this.scale.log ? 3 : 1 } },
      legend: { show: false },
      cursor: { y: false, points: { size: 7 }, sync: this.dataset.sync ? { key: this.dataset.sync } : undefined },
      padding: [8, 8, 0, 0],
      hooks: { setCursor: [() => this.legend()] },
    };
    this.plot = new uPlot(options, this.table(), this.plotBox);
    this.settle();
  }

  /** After new data: legend and the sentence for screen readers. */
  settle() {
    this.legend();
    const said = this.names.map((name, index) => `${this.labels[index].textContent.trim()}`).join(", ");
    const last = Math.max(...[...this.series.values()].map(([steps]) => steps.at(-1) ?? 0));
    const text = this.dataset.summary.replace("{title}", this.dataset.title).replace("{values}", said).replace("{step}", last);
    this.plotBox.setAttribute("aria-label", text);
  }

  /** Values under the cursor, or the last ones. */
  legend() {
    const at = this.plot?.cursor.idx ?? null;
    const step = at === null ? Infinity : this.plot.data[0][at];
    this.at.textContent = at === null ? "" : this.at.dataset.pattern.replace("{step}", formats.number(step));
    this.names.forEach((name, index) => {
      const [steps, values] = this.series.get(name);
      let i = steps.length - 1;
      while (i >= 0 && steps[i] > step) i -= 1;
      this.labels[index].querySelector("b").textContent = i < 0 ? "–" : this.format(values[i]);
    });
  }

  /** A tick of the y axis. */
  short(value) {
    if (this.dataset.format === "filesize" || this.dataset.format === "percent") return formats[this.dataset.format](value);
    if (value === 0) return "0";
    const usual = Math.abs(value) >= 0.001 && Math.abs(value) < 1e9;
    return usual ? value.toLocaleString("en", { notation: "compact" }) : value.toExponential().replace("+", "");
  }

  format(value) {
    if (value === 0) return "0";
    if (this.dataset.format) return formats[this.dataset.format](value);
    return Math.abs(value) < 0.001 ? value.toExponential(2) : formats.loss(value);
  }
}

customElements.define("td-chart", Chart);
