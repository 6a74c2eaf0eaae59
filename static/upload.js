// <td-upload>: sends the file of the form inside it with progress, speed, time left and a way to stop. Without script the same
// form posts by itself. The server answers JSON: 2xx {"location": "/datasets/7"}; else {"error": {"message": "sentence"}}.
const { duration, filesize } = globalThis.tunedeck; // ui.js runs before this module

class Upload extends HTMLElement {
  connectedCallback() {
    this.form = this.querySelector("form");
    this.file = this.querySelector("input[type=file]");
    this.box = this.querySelector(".upload-progress");
    this.zone = this.querySelector(".drop");
    this.form.addEventListener("submit", (event) => this.send(event));
    this.file.addEventListener("change", () => this.say(this.tooLarge() ? this.dataset.large : ""));
    this.querySelector("[data-cancel]").addEventListener("click", () => this.request?.abort());
    for (const name of ["dragover", "dragleave", "drop"]) this.zone.addEventListener(name, (event) => this.drag(event));
  }

  drag(event) {
    event.preventDefault();
    this.zone.classList.toggle("over", event.type === "dragover");
    if (event.type !== "drop" || !event.dataTransfer.files.length) return;
    this.file.files = event.dataTransfer.files;
    this.form.requestSubmit();
  }

  tooLarge() {
    return this.dataset.max && this.file.files[0]?.size > Number(this.dataset.max);
  }

  send(event) {
    event.preventDefault();
    if (this.tooLarge()) return this.say(this.dataset.large);
    this.say("");
    this.busy(true);
    this.since = performance.now();
    const request = (this.request = new XMLHttpRequest());
    request.upload.addEventListener("progress", (step) => this.show(step.loaded, step.total));
    request.addEventListener("load", () => this.done(request));
    request.addEventListener("error", () => this.fail(this.dataset.failed));
    request.addEventListener("abort", () => this.busy(false));
    request.open("POST", this.form.action);
    request.setRequestHeader("Accept", "application/json");
    request.send(new FormData(this.form));
  }

  show(loaded, total) {
    const speed = loaded / Math.max(1, performance.now() - this.since) * 1000;
    this.box.querySelector("progress").value = total ? loaded / total : 0;
    this.box.querySelector("[data-text]").textContent = `${filesize(loaded)} / ${filesize(total)} · ${filesize(speed)}/s`;
    this.box.querySelector("[data-left]").textContent = this.dataset.left.replace("{time}", duration((total - loaded) / speed));
  }

  done(request) {
    let answer = {};
    try {
      answer = JSON.parse(request.responseText);
    } catch {
      // not ours: a proxy's page, say
    }
    if (request.status < 300 && answer.location) location.assign(answer.location);
    else this.fail(answer.error?.message ?? this.dataset.failed);
  }

  fail(sentence) {
    this.busy(false);
    this.say(String(sentence));
  }

  busy(on) {
    this.box.hidden = !on;
    this.form.querySelector("button[type=submit]").hidden = on;
  }

  say(sentence) {
    const place = this.querySelector("[data-error]");
    place.textContent = sentence;
    place.parentElement.hidden = !sentence;
    this.form.classList.toggle("invalid", Boolean(sentence));
  }
}

customElements.define("td-upload", Upload);
