// A form that is sent once at a time, and says at its fields what is wrong with them.

import { $, element, fieldError } from "./dom.js";
import { texts } from "./i18n.js";
import { sheet } from "./sheet.js";
import { words } from "./ui.js";

sheet(new URL("form.css", import.meta.url));

const t = texts({
  en: { missing: "Please fill this in." },
  zh: { missing: "请填写此项。" },
  ja: { missing: "入力してください。" },
});

// form({inputs: {email: input}, rows: [field(…)], submit: "Save", send: async () => …}) → the <form>.
//
// `inputs` by the names that the server has for them; those that are `required` have to be filled in. `send` is
// called with nothing wrong here; what it rejects with is told by `explain(error)` → {field, text}: at that field, or
// above the button where there is none. `check()` → {field, text} tells what is wrong before anything is sent.
export function form({
  inputs, rows, submit, send, before = [], beside = [], className = "card form",
  check = () => null, explain = plainly,
}) {
  const button = element("button", { className: "primary", type: "submit" }, submit);
  const failure = element("p", { className: "error", role: "alert" });
  const made = element("form", { className, noValidate: true }, ...rows, failure,
    element("div", { className: "row" }, ...before, button, ...beside));
  let busy = false;

  function refuse({ field, text }) {
    const input = inputs[field];
    if (input === undefined) failure.textContent = text;
    else fieldError(input, text);
    (input ?? button).focus();
  }

  made.addEventListener("submit", async (event) => {
    event.preventDefault();
    // Enter in a field comes here too, whatever the button says.
    if (busy) return;
    failure.textContent = "";
    const all = Object.values(inputs);
    for (const input of all) fieldError(input, input.required && isEmpty(input) ? t("missing") : "");
    const first = all.find((input) => input.hasAttribute("aria-invalid"));
    const wrong = first ? null : check();
    if (first) first.focus();
    else if (wrong) refuse(wrong);
    if (first || wrong) return;
    busy = button.disabled = true;
    made.setAttribute("aria-busy", "true");
    const from = document.activeElement;
    let refused = null;
    try {
      await send();
    } catch (error) {
      refused = explain(error);
    }
    busy = button.disabled = false;
    made.removeAttribute("aria-busy");
    // What it was sent from may be gone by now, with its page.
    if (!made.isConnected) return;
    if (refused) refuse(refused);
    // A button that is disabled loses the focus.
    else if (from === button && document.activeElement === document.body) button.focus();
  });
  // What was wrong is being mended.
  made.addEventListener("input", ({ target }) => {
    failure.textContent = "";
    if (target.hasAttribute("aria-invalid") && $(`${target.id}-error`)) fieldError(target, "");
  });
  return made;
}

// A password of blanks is one.
function isEmpty(input) {
  return (input.type === "password" ? input.value : input.value.trim()) === "";
}

function plainly(error) {
  return { field: error.field?.split(/[.[]/)[0], text: words(error) };
}
