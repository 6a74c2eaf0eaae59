// A run that is watched from another tab: how far it is stands in the title and in the icon, and a notice tells its end if asked.
// <td-watch data-name data-ends="{name}: {state}" data-final="succeeded,failed"> around the button that asks for the notice.

const { streamOf, payload } = globalThis.tunedeck;
const SIZE = 32;

class Watch extends HTMLElement {
  connectedCallback() {
    const source = streamOf(this);
    this.stop = new AbortController();
    const { signal } = this.stop;
    this.title = "";
    this.plain = document.title;
    this.icon = document.querySelector("link[rel=icon]");
    this.was = this.icon.href;
    source.addEventListener("metric", (event) => this.progress(payload(event)), { signal });
    source.addEventListener("state", (event) => this.moved(payload(event)), { signal });
    this.button = this.querySelector("button");
    if (!this.button) return;
    // A browser gives notices only over TLS or on this machine.
    if (!globalThis.Notification || Notification.permission === "denied") this.button.hidden = true;
    else this.button.addEventListener("click", () => this.ask(), { signal });
    this.set(sessionStorage.getItem(this.key) !== null && globalThis.Notification?.permission === "granted");
  }

  disconnectedCallback() {
    this.stop.abort();
    this.reset();
  }

  get key() {
    return `notice:${location.pathname}`;
  }

  async ask() {
    if (this.on) return this.set(false);
    const answer = Notification.permission === "default" ? await Notification.requestPermission() : Notification.permission;
    if (answer === "granted") this.set(true);
    else this.button.hidden = true;
  }

  set(on) {
    this.on = on;
    if (on) sessionStorage.setItem(this.key, "1");
    else sessionStorage.removeItem(this.key);
    this.button.setAttribute("aria-pressed", String(on));
  }

  progress(data) {
    if (!data?.total_steps) return;
    const share = Math.min(1, data.step / data.total_steps);
    document.title = `${Math.floor(100 * share)} % · ${this.plain}`;
    this.draw(share);
  }

  /** A ring that fills. */
  draw(share) {
    const whole = Math.round(share * 100);
    if (whole === this.drawn) return;
    this.drawn = whole;
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = SIZE;
    const pen = canvas.getContext("2d");
    const ring = (part, colour) => {
      pen.beginPath();
      pen.lineWidth = 6;
      pen.strokeStyle = colour;
      pen.arc(SIZE / 2, SIZE / 2, SIZE / 2 - 4, -Math.PI / 2, (2 * part - 0.5) * Math.PI);
      pen.stroke();
    };
    ring(1, "#9aa4c8");
    ring(share, "#2c4fd8");
    this.icon.href = canvas.toDataURL();
  }

  reset() {
    document.title = this.plain;
    if (this.drawn !== undefined) this.icon.href = this.was;
    this.drawn = undefined;
  }

  moved(data) {
    if (!data?.state) return;
    const ended = this.dataset.final.split(",").includes(data.state);
    this.reset();
    if (!ended) return;
    const said = this.dataset.ends.replace("{name}", this.dataset.name).replace("{state}", data.state);
    document.title = said;
    if (this.on) new Notification(said);
    sessionStorage.removeItem(this.key);
  }
}

customElements.define("td-watch", Watch);
