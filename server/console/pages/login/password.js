// A field for a password: what is typed can be shown, and Caps Lock is told.

import { element, field } from "../../lib/dom.js";
import { t } from "./texts.js";

// As `field`, with a button that shows what is typed, and a line that says when Caps Lock is on.
export function passwordField(label, input, hint = "") {
  const made = field(label, input, hint);
  const toggle = element("button",
    { type: "button", className: "reveal", "aria-label": t("reveal"), "aria-pressed": "false" }, t("show"));
  toggle.addEventListener("click", () => reveal(input, toggle, input.type === "password"));
  const caps = element("p", { className: "hint", role: "status" });
  const box = element("div", { className: "joined" });
  input.replaceWith(box);
  box.append(input, toggle);
  made.append(caps);
  for (const type of ["keydown", "keyup"]) {
    input.addEventListener(type, (event) => {
      // A browser that fills the field in sends events that are no keys.
      caps.textContent = event.getModifierState?.("CapsLock") ? t("caps") : "";
    });
  }
  input.addEventListener("blur", () => (caps.textContent = ""));
  return made;
}

// Before a password is sent or cleared, so that browsers keep it as one, and nobody behind reads the next.
export function conceal(input) {
  const toggle = input.parentElement.querySelector(".reveal");
  if (toggle !== null) reveal(input, toggle, false);
}

function reveal(input, toggle, shown) {
  input.type = shown ? "text" : "password";
  toggle.textContent = shown ? t("hide") : t("show");
  toggle.setAttribute("aria-pressed", String(shown));
}
