// What charts of a training share: how a line is smoothed, where a step lies on the axis, what is marked, a picture to keep.
// Runs before chart.js, which finds it under tunedeck.chart (no import: static addresses carry a version).

const FEW = 40; // fewer points are drawn as dots, and are not smoothed

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

/** Averaged forwards and backwards, so that the smooth line does not lag behind. `amount`: 0 to 100. */
function smooth(values, amount) {
  if (values.length < FEW || !amount) return values;
  const width = (values.length / 24) * (amount / 70) ** 2;
  const keep = Math.min(0.995, Math.max(0, 1 - 1 / Math.max(1, width)));
  const back = average([...values].reverse(), keep).reverse();
  return average(values, keep).map((value, i) => (value + back[i]) / 2);
}

const faint = (colour) => colour.replace(/^rgb\((.*)\)$/, "rgba($1, 0.36)");

/** The axis of one job: steps, epochs or seconds, and what is marked on it. */
class Axis {
  constructor(found) {
    this.found = found ?? { checkpoints: [], restarts: [], steps: [], seconds: [], begun: "", epoch_per_step: 0 };
  }

  /** A live metric: it tells the time of its step, and the epoch. */
  hear(data) {
    const { found } = this;
    if (data.epoch && data.step) found.epoch_per_step = data.epoch / data.step;
    if (!data.at || !data.step) return;
    found.begun ||= data.at;
    const seconds = (Date.parse(data.at) - Date.parse(found.begun)) / 1000;
    if (data.step > (found.steps.at(-1) ?? 0) && seconds > (found.seconds.at(-1) ?? -1)) {
      found.steps.push(data.step);
      found.seconds.push(seconds);
    }
  }

  checkpoint(step) {
    if (step && !this.found.checkpoints.includes(step)) this.found.checkpoints.push(step);
  }

  /** Where `step` lies when the axis shows `what`: step | epoch | time. */
  at(step, what) {
    if (what === "epoch") return step * this.found.epoch_per_step;
    return what === "time" ? this.between(this.found.steps, this.found.seconds, step) : step;
  }

  /** The step at a place of the axis. */
  step(place, what) {
    if (what === "epoch") return place / (this.found.epoch_per_step || 1);
    return what === "time" ? this.between(this.found.seconds, this.found.steps, place) : place;
  }

  /** Straight between two known points, and on beyond the outer ones. */
  between(from, to, value) {
    if (from.length < 2) return value;
    let low = 0;
    let high = from.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (from[middle] <= value) low = middle;
      else high = middle;
    }
    return to[low] + ((to[high] - to[low]) * (value - from[low])) / (from[high] - from[low]);
  }

  knows(what) {
    return what === "epoch" ? this.found.epoch_per_step > 0 : what === "time" ? this.found.steps.length > 1 : true;
  }
}

/** Draw over a finished uPlot: a tick for each checkpoint, a broken line where it went on, a ring at the best validation. */
function mark(plot, { checkpoints, restarts, best, colour, text }) {
  const { ctx, bbox } = plot;
  const dot = devicePixelRatio;
  const inside = (place) => place >= plot.scales.x.min && place <= plot.scales.x.max;
  const left = (place) => plot.valToPos(place, "x", true);
  ctx.save();
  ctx.strokeStyle = text;
  ctx.lineWidth = dot;
  ctx.beginPath();
  for (const place of checkpoints.filter(inside)) {
    ctx.moveTo(left(place), bbox.top + bbox.height);
    ctx.lineTo(left(place), bbox.top + bbox.height - 7 * dot);
  }
  ctx.stroke();
  ctx.setLineDash([3 * dot, 3 * dot]);
  ctx.beginPath();
  for (const place of restarts.filter(inside)) {
    ctx.moveTo(left(place), bbox.top);
    ctx.lineTo(left(place), bbox.top + bbox.height);
  }
  ctx.stroke();
  if (best && inside(best[0])) {
    ctx.setLineDash([]);
    ctx.strokeStyle = colour;
    ctx.lineWidth = 2 * dot;
    ctx.beginPath();
    ctx.arc(left(best[0]), plot.valToPos(best[1], "y", true), 5 * dot, 0, 2 * Math.PI);
    ctx.stroke();
  }
  ctx.restore();
}

/** The chart as a picture with its title, in the colours of the page. */
function picture(plot, title, box) {
  const source = plot.ctx.canvas;
  const head = 32 * devicePixelRatio;
  const canvas = document.createElement("canvas");
  canvas.width = source.width;
  canvas.height = source.height + head;
  const pen = canvas.getContext("2d");
  pen.fillStyle = getComputedStyle(box.closest(".panel") ?? document.body).backgroundColor;
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.drawImage(source, 0, head);
  pen.fillStyle = getComputedStyle(document.body).color;
  pen.font = `600 ${14 * devicePixelRatio}px ${getComputedStyle(document.body).fontFamily}`;
  pen.fillText(title, 8 * devicePixelRatio, 20 * devicePixelRatio);
  canvas.toBlob((blob) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `${title}.png`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
}

globalThis.tunedeck.chart = { FEW, smooth, faint, Axis, mark, picture };
