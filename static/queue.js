// <td-queue><ol><li data-id>: the waiting jobs. The handle at its start drags one to another place, by mouse or finger; the
// buttons beside it do the same without. The order is the server's: a refused move shows the list as it is there.

// A finger is wider than the handle's icon.
const HANDLE = 44;

function handled(event, x) {
  const item = event.target.closest("li[data-id]");
  return item && x - item.getBoundingClientRect().left < HANDLE ? item : null;
}

class Queue extends HTMLElement {
  connectedCallback() {
    this.addEventListener("pointerover", (event) => {
      const item = event.target.closest("li[data-id]");
      if (item) item.style.cursor = event.target.closest("[data-grip]") ? "grab" : "";
    });
    // A finger on the handle drags; the page must not scroll meanwhile.
    const still = (event) => handled(event, event.touches[0].clientX) && event.preventDefault();
    this.addEventListener("touchstart", still, { passive: false });
    this.addEventListener("pointerdown", (event) => this.take(event));
    this.addEventListener("pointermove", (event) => this.carry(event));
    this.addEventListener("pointerup", () => this.put());
    this.addEventListener("pointercancel", () => this.giveUp());
    // The list looks again when something changes; not under the hand that holds a part of it.
    this.wait = (event) => this.held && event.preventDefault();
    document.addEventListener("htmx:before:swap", this.wait);
  }

  disconnectedCallback() {
    document.removeEventListener("htmx:before:swap", this.wait);
  }

  take(event) {
    const item = handled(event, event.clientX);
    if (!item || event.button || item.parentElement.children.length < 2) return;
    event.preventDefault();
    this.held = item;
    this.after = this.held.nextElementSibling;
    this.setPointerCapture(event.pointerId);
    this.held.style.opacity = "0.5";
  }

  carry(event) {
    if (!this.held) return;
    const others = [...this.held.parentElement.children].filter((item) => item !== this.held);
    const middle = (item) => item.getBoundingClientRect().top + item.offsetHeight / 2;
    const below = others.find((item) => event.clientY < middle(item)) ?? null;
    if (below !== this.held.nextElementSibling) this.held.parentElement.insertBefore(this.held, below);
  }

  async put() {
    const item = this.held;
    if (!item) return;
    this.letGo();
    const next = item.nextElementSibling;
    if (next !== this.after) await this.send(item.dataset.id, next ? Number(next.dataset.id) : null);
    document.body.dispatchEvent(new CustomEvent("changed", { bubbles: true }));
  }

  giveUp() {
    if (!this.held) return;
    this.held.parentElement.insertBefore(this.held, this.after);
    this.letGo();
  }

  letGo() {
    this.held.style.opacity = "";
    this.held = null;
  }

  async send(id, before) {
    let said = this.dataset.failed;
    try {
      const headers = { "content-type": "application/json" };
      const answer = await fetch(`/api/jobs/${id}/move`, { method: "POST", headers, body: JSON.stringify({ before }) });
      if (answer.ok) return;
      said = (await answer.json()).error.message;
    } catch {
      // no answer, or none of ours
    }
    const note = document.createElement("div");
    note.className = "notice bad";
    note.textContent = said;
    document.getElementById("toasts").replaceChildren(note);
  }
}

customElements.define("td-queue", Queue);
