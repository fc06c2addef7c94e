// Small helpers around the document. Text goes in as text: nothing here, or anywhere, parses HTML.

export function $(id) {
  return document.getElementById(id);
}

// element("p", {className: "hint"}, "text", child): properties, and children as nodes or text. What is no property
// of the element, as aria-label or data-tone, becomes an attribute; a child that is null or false is left out.
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

let fields = 0;

// A label, its input, a hint and the place where an error stands, tied together. `input` is the element.
export function field(label, input, hint = "") {
  input.id ||= `field-${++fields}`;
  input.setAttribute("aria-describedby", `${input.id}-hint ${input.id}-error`);
  return element("div", { className: "field" },
    element("label", { htmlFor: input.id }, label),
    input,
    element("p", { className: "hint", id: `${input.id}-hint` }, hint),
    element("p", { className: "error", id: `${input.id}-error`, role: "alert" }));
}

// Tell what is wrong with a field, at the field; "" takes it back.
export function fieldError(input, message) {
  $(`${input.id}-error`).textContent = message;
  if (message) input.setAttribute("aria-invalid", "true");
  else input.removeAttribute("aria-invalid");
}

// A list of terms; a value is text or a node, and null leaves its row out.
export function fillTerms(list, rows) {
  list.replaceChildren(
    ...rows
      .filter(([, value]) => value !== null && value !== undefined)
      .flatMap(([term, value]) => [element("dt", {}, term), element("dd", {}, value)]),
  );
}

// Call it before new entries go in, then what it returns: a list that was read at its end stays there.
export function stickToEnd(list) {
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 24;
  return () => {
    if (atEnd) list.scrollTop = list.scrollHeight;
  };
}
