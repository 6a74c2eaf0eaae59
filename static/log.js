// <td-log data-src="/jobs/1/log.json">: the log of a job. Live lines come as `log` events; what is sought, and what is older
// than the page's lines, comes from data-src?find=&level=&before= -> {"lines": [{seq, iso, level, message}], "before": n}, 0: no more.

const { streamOf, payload } = globalThis.tunedeck;
const MOST = 2000; // lines kept on the page
const FOLDED = 4; // a message of more lines shows its first one
const TYPING_MS = 250;
const SHOWN = { all: /./, warnings: /warning|error/, errors: /error/ };

class Log extends HTMLElement {
  connectedCallback() {
    this.list = this.querySelector("ol");
    this.stop = new AbortController();
    const { signal } = this.stop;
    streamOf(this).addEventListener("log", (event) => this.hear(payload(event)), { signal });
    this.list.replaceChildren(...[...this.list.children].map((row) => this.row(this.read(row))));
    this.find = this.querySelector("[data-find]");
    this.level = this.querySelector("[data-level]");
    this.follows = this.querySelector("[data-follow]");
    this.more = this.querySelector("[data-more]");
    this.note = this.querySelector("[data-note]");
    this.before = Number(this.dataset.before ?? 0);
    this.toEnd();
    if (!this.find) return;
    this.more.hidden = !this.before;
    this.find.addEventListener("input", () => this.later(), { signal });
    this.level.addEventListener("change", () => this.fetch(), { signal });
    this.more.addEventListener("click", () => this.fetch(this.before), { signal });
    this.follows.addEventListener("change", () => this.toEnd(), { signal });
    this.list.addEventListener("scroll", () => (this.follows.checked = this.atEnd()), { signal });
  }

  disconnectedCallback() {
    this.stop.abort();
  }

  read(row) {
    return { seq: row.dataset.seq, iso: row.querySelector("time").dateTime, level: row.className, message: row.lastElementChild.textContent };
  }

  atEnd() {
    return this.list.scrollHeight - this.list.scrollTop - this.list.clientHeight < 24;
  }

  toEnd() {
    if (!this.follows || this.follows.checked) this.list.scrollTop = this.list.scrollHeight;
  }

  wanted(line) {
    if (!this.find) return true;
    return SHOWN[this.level.value].test(line.level) && line.message.toLowerCase().includes(this.find.value.trim().toLowerCase());
  }

  hear(line) {
    if (!line || !this.wanted(line)) return;
    const row = this.row({ seq: line.seq, iso: line.at, level: line.level, message: line.message });
    this.heard?.push(row); // an answer on its way may be older than this line
    this.list.append(row);
    // Whoever reads further up keeps what they read.
    while ((!this.follows || this.follows.checked) && this.list.children.length > MOST) {
      this.list.firstElementChild.remove();
      this.before = Number(this.list.firstElementChild.dataset.seq) || this.before;
      if (this.more) this.more.hidden = false;
    }
    this.toEnd();
  }

  later() {
    clearTimeout(this.typing);
    this.typing = setTimeout(() => this.fetch(), TYPING_MS);
  }

  /** What is sought; with `before`, what is older than what is shown. */
  async fetch(before = 0) {
    const query = new URLSearchParams({ find: this.find.value.trim(), level: this.level.value });
    if (before) query.set("before", before);
    const asked = (this.asked = `${query}`);
    this.setAttribute("aria-busy", "true");
    this.heard = [];
    try {
      const answer = await fetch(`${this.dataset.src}?${query}`, { headers: { Accept: "application/json" } });
      if (!answer.ok) throw new Error(String(answer.status));
      const found = await answer.json();
      if (asked !== this.asked || !this.isConnected) return;
      this.show(found, before);
    } catch {
      if (asked === this.asked) this.note.textContent = this.note.dataset.error;
    }
    if (asked !== this.asked) return;
    this.removeAttribute("aria-busy");
    this.heard = null;
  }

  show(found, before) {
    const rows = found.lines.map((line) => this.row(line));
    const height = this.list.scrollHeight;
    if (before) this.list.prepend(...rows);
    else {
      const last = found.lines.at(-1)?.seq ?? 0;
      this.list.replaceChildren(...rows, ...this.heard.filter((row) => Number(row.dataset.seq) > last));
    }
    this.before = found.before;
    this.more.hidden = !found.before;
    this.note.textContent = rows.length || found.before ? "" : this.note.dataset.none;
    if (before) this.list.scrollTop += this.list.scrollHeight - height;
    else this.toEnd();
  }

  row({ seq, iso, level, message }) {
    const row = document.createElement("li");
    row.dataset.seq = seq ?? "";
    row.className = level;
    const at = new Date(iso);
    const time = document.createElement("time");
    time.dateTime = iso;
    time.textContent = at.toLocaleTimeString("en-GB");
    time.title = at.toLocaleString();
    const name = document.createElement("span");
    name.className = "level";
    name.textContent = level;
    row.append(time, name, this.text(message));
    return row;
  }

  text(message) {
    const lines = message.split("\n");
    const text = document.createElement("span");
    if (lines.length <= FOLDED) {
      text.textContent = message;
      return text;
    }
    const fold = document.createElement("details");
    const head = document.createElement("summary");
    head.textContent = lines[0];
    text.textContent = message.slice(lines[0].length + 1);
    fold.append(head, text);
    return fold;
  }
}

customElements.define("td-log", Log);
