// A temporary password, shown once to whoever has to pass it on.

import { element } from "../../lib/dom.js";
import { show } from "../../lib/ui.js";
import { t } from "./texts.js";

// Resolves when the dialog is closed.
export function tell({ title, name, password }) {
  return new Promise((resolve) => {
    const secret = element("input", {
      readOnly: true, value: password, className: "mono", id: "secret", "aria-describedby": "secret-hint",
    });
    const copy = element("button", { type: "button", className: "primary", autofocus: true }, t("copy"));
    const told = element("p", { className: "hint", role: "status" });
    copy.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(password);
        told.textContent = t("copied");
      } catch {
        // The clipboard is for pages of https and localhost only, and for whom the browser lets.
        secret.select();
        told.textContent = t("select");
      }
    });
    const dialog = element("dialog", { "aria-labelledby": "secret-title" },
      element("h2", { id: "secret-title" }, title),
      element("label", { htmlFor: "secret" }, t("secret")),
      element("div", { className: "joined" }, secret, copy),
      element("p", { className: "hint", id: "secret-hint" }, t("secret_hint", { name })),
      told,
      element("form", { method: "dialog", className: "row" }, element("button", { type: "submit" }, t("close"))));
    show(dialog, resolve);
  });
}
