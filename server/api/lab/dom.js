// Small helpers around the document. Text goes in as text: nothing here, or anywhere, parses HTML.

export function $(id) {
  return document.getElementById(id);
}

// element("p", {className: "hint"}, "text", child): properties, and children as nodes or text.
export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// Tell what is wrong with a field, at the field; "" takes it back. Its error paragraph is `<id>-error`.
export function fieldError(input, message) {
  $(`${input.id}-error`).textContent = message;
  if (message) {
    input.setAttribute("aria-invalid", "true");
  } else {
    input.removeAttribute("aria-invalid");
  }
}

// A list of terms; a value is text or a node, and null leaves its row out.
export function fillTerms(list, rows) {
  list.replaceChildren(
    ...rows
      .filter(([, value]) => value !== null && value !== undefined)
      .flatMap(([term, value]) => [element("dt", {}, term), element("dd", {}, value)]),
  );
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });

export function timeOfDay(date, milliseconds = false) {
  const text = clock.format(date);
  return milliseconds ? `${text}.${String(date.getMilliseconds()).padStart(3, "0")}` : text;
}

export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 90) return `${whole} s`;
  if (whole < 5400) return `${Math.round(whole / 60)} min`;
  if (whole < 172800) return `${Math.round(whole / 3600)} h`;
  return `${Math.round(whole / 86400)} days`;
}

export function bytes(count) {
  if (count < 1024) return `${count} B`;
  if (count < 1048576) return `${(count / 1024).toFixed(1)} KiB`;
  return `${(count / 1048576).toFixed(1)} MiB`;
}

export function milliseconds(value) {
  return value < 10 ? value.toFixed(1) : String(Math.round(value));
}

// Call `update` before new entries go in, then `settle`: a list that was read at its end stays there.
export function stickToEnd(list) {
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 24;
  return () => {
    if (atEnd) list.scrollTop = list.scrollHeight;
  };
}
