// <td-upload>: sends the file of the form inside it in parts, with progress, speed, time left and a way to stop. A broken line or
// a server that starts anew is waited for; the same file chosen again, in this window or another, goes on where it was. Without
// script the same form posts by itself. What is asked of the server stands in app/web/pages/uploads.py.
const { duration, filesize } = globalThis.tunedeck; // ui.js runs before this module

const PART = 16 * 1024 * 1024;
const WAITS = [500, 1000, 2000, 4000, 8000, 15000]; // between two tries; the last one again and again
const PATIENCE = 10 * 60 * 1000; // without a byte
const PASSING = new Set([0, 408, 409, 425, 429, 502, 503, 504]);

class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.passing = PASSING.has(status);
  }
}

class Upload extends HTMLElement {
  connectedCallback() {
    this.form = this.querySelector("form");
    this.file = this.querySelector("input[type=file]");
    this.box = this.querySelector(".upload-progress");
    this.zone = this.querySelector(".drop");
    this.form.addEventListener("submit", (event) => this.send(event));
    this.file.addEventListener("change", () => this.say(this.tooLarge() ? this.dataset.large : ""));
    this.querySelector("[data-cancel]").addEventListener("click", () => this.cancel());
    for (const name of ["dragover", "dragleave", "drop"]) this.zone.addEventListener(name, (event) => this.drag(event));
  }

  drag(event) {
    event.preventDefault();
    this.zone.classList.toggle("over", event.type === "dragover");
    if (event.type !== "drop" || !event.dataTransfer.files.length || this.going) return;
    this.file.files = event.dataTransfer.files;
    this.form.requestSubmit();
  }

  tooLarge() {
    return this.dataset.max && this.file.files[0]?.size > Number(this.dataset.max);
  }

  async send(event) {
    event.preventDefault();
    if (this.tooLarge()) return this.say(this.dataset.large);
    this.say("");
    const going = (this.going = { file: this.file.files[0], id: 0 });
    this.busy(true);
    try {
      const location = await this.carry(going);
      if (this.going === going) globalThis.location.assign(location);
    } catch (error) {
      if (this.going === going) this.fail(error.message);
    }
  }

  // Asks how far the file is and goes on from there, until it is whole; after what passes, again and again.
  async carry(going) {
    const { file } = going;
    let tries = 0;
    let heard = performance.now();
    let most = -1;
    for (;;) {
      try {
        const state = await this.begin(going);
        if (state.location) return state.location;
        let at = state.received;
        this.from(at);
        while (at < file.size) {
          if (at > most) [most, heard, tries] = [at, performance.now(), 0];
          this.show(at, file.size);
          at = await this.part(going, at);
        }
        this.show(at, file.size);
        return (await this.ask(going, `${this.base}/${going.id}/finish`)).location;
      } catch (error) {
        if (this.going !== going || !error.passing) throw error;
        if (performance.now() - heard > PATIENCE) throw new Refused(400, this.dataset.failed);
        await this.readable(file);
        this.wait(error.message);
        await new Promise((done) => setTimeout(done, WAITS[Math.min(tries, WAITS.length - 1)]));
        tries += 1;
      }
    }
  }

  get base() {
    return `${this.form.getAttribute("action")}/uploads`;
  }

  async begin(going) {
    const { name, size, lastModified } = going.file;
    const state = await this.ask(going, this.base, new URLSearchParams({ filename: name, size, modified: lastModified }));
    going.id = state.id ?? going.id;
    return state;
  }

  async ask(going, address, body) {
    const headers = { Accept: "application/json" };
    const answer = await fetch(address, { method: "POST", headers, body }).catch(() => ({ status: 0 }));
    return this.heard(going, answer.status, answer.text ? await answer.text().catch(() => "") : "");
  }

  part(going, at) {
    return new Promise((done, failed) => {
      const request = (going.request = new XMLHttpRequest()); // fetch tells no progress of what it sends
      const settle = () => {
        try {
          done(this.heard(going, request.status, request.responseText).received);
        } catch (error) {
          failed(error);
        }
      };
      request.upload.addEventListener("progress", (step) => this.show(at + step.loaded, going.file.size));
      for (const end of ["load", "error", "abort"]) request.addEventListener(end, settle);
      request.open("PATCH", `${this.base}/${going.id}?offset=${at}`);
      request.setRequestHeader("Accept", "application/json");
      request.setRequestHeader("Content-Type", "application/octet-stream");
      request.send(going.file.slice(at, at + PART));
    });
  }

  heard(going, status, text) {
    if (this.going !== going) throw new Refused(400, "");
    let answer = {};
    try {
      answer = JSON.parse(text);
    } catch {
      // not ours: a proxy's page, say
    }
    if (status >= 200 && status < 300) return answer;
    throw new Refused(status, answer.error?.message ?? (PASSING.has(status) ? "" : this.dataset.failed));
  }

  async readable(file) {
    try {
      await file.slice(0, 1).arrayBuffer();
    } catch {
      throw new Refused(400, this.dataset.changed);
    }
  }

  cancel() {
    const { going } = this;
    this.going = null;
    going?.request?.abort();
    if (going?.id) fetch(`${this.base}/${going.id}/delete`, { method: "POST", headers: { Accept: "application/json" }, keepalive: true });
    this.busy(false);
  }

  from(at) {
    this.since = performance.now();
    this.first = at;
  }

  show(loaded, total) {
    const speed = (loaded - this.first) / Math.max(1, performance.now() - this.since) * 1000;
    this.box.querySelector("progress").value = total ? loaded / total : 0;
    this.box.querySelector("[data-text]").textContent = `${filesize(loaded)} / ${filesize(total)} · ${filesize(speed)}/s`;
    const left = speed > 0 ? duration((total - loaded) / speed) : "";
    this.box.querySelector("[data-left]").textContent = left && this.dataset.left.replace("{time}", left);
  }

  wait(sentence) {
    this.box.querySelector("[data-left]").textContent = sentence || this.dataset.waits;
  }

  fail(sentence) {
    this.going = null;
    this.busy(false);
    this.say(String(sentence));
  }

  busy(on) {
    this.box.hidden = !on;
    this.form.querySelector("button[type=submit]").hidden = on;
    if (on) [this.box.querySelector("progress").value, this.box.querySelector("[data-text]").textContent] = [0, ""];
    if (on) this.box.querySelector("[data-left]").textContent = "";
  }

  say(sentence) {
    const place = this.querySelector("[data-error]");
    place.textContent = sentence;
    place.parentElement.hidden = !sentence;
    this.form.classList.toggle("invalid", Boolean(sentence));
  }
}

customElements.define("td-upload", Upload);
