// Trying an operation: a form, the request that it makes, the same as a curl line, and the answer.

import { element } from "../console/lib/dom.js";
import { bytes, milliseconds } from "../console/lib/format.js";

// Longer than the server lets a request take.
const DEADLINE_MS = 30_000;
// Of an answer's body.
const SHOWN = 100_000;

let forms = 0;

// The form. `credentials()` gives the headers, and their stand-ins for the curl line.
export function tryIt(operation, schemas, credentials) {
  const number = ++forms;
  const media = jsonBody(operation, schemas);
  const inputs = operation.parameters.filter(({ in: place }) => place === "path" || place === "query").map((parameter) => {
    const input = element("input", { id: `try-${number}-${parameter.name}`, autocomplete: "off", spellcheck: false, required: parameter.required === true });
    const fallback = parameter.schema?.default;
    if (fallback !== undefined && fallback !== null) input.placeholder = String(fallback);
    return { parameter, input };
  });
  const body = media && element("textarea", { id: `try-${number}-body`, spellcheck: false, rows: 8 });
  if (body) {
    body.value = JSON.stringify(media.example ?? schemas.example(media.schema), null, 2);
    body.rows = Math.min(18, body.value.split("\n").length + 1);
  }
  const error = element("p", { className: "error" });
  error.setAttribute("role", "alert");
  const answer = element("div", { className: "answered" });
  answer.setAttribute("aria-live", "polite");
  const curl = element("pre", { className: "curl", tabIndex: 0 });
  const copy = element("button", { type: "button", className: "small" }, "Copy");
  const send = element("button", { type: "submit", className: "primary" }, "Send");

  const request = () => assemble(operation, inputs, body);
  const drawCurl = () => {
    curl.textContent = curlLine(request(), credentials().curl);
  };
  const form = element(
    "form",
    { className: "try", noValidate: true },
    ...inputs.map(({ parameter, input }) => labelled(parameter.name, input)),
    ...(body ? [labelled("Body", body)] : []),
    error,
    element("div", { className: "row" }, send),
    element("div", { className: "curl-box" }, curl, copy),
    answer,
  );
  form.addEventListener("input", drawCurl);
  // Credentials are typed elsewhere.
  document.addEventListener("credentials", drawCurl);
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(curl.textContent);
      copy.textContent = "Copied";
    } catch {
      // Not over plain HTTP, but on the own machine: then it is selected, to be copied by hand.
      getSelection().selectAllChildren(curl);
      copy.textContent = "Selected";
    }
    setTimeout(() => (copy.textContent = "Copy"), 2000);
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    error.textContent = complaint(inputs, body);
    if (error.textContent) return;
    send.disabled = true;
    try {
      answer.replaceChildren(...(await perform(request(), credentials().headers)));
    } finally {
      send.disabled = false;
    }
  });
  drawCurl();
  return form;
}

function jsonBody(operation, schemas) {
  const content = schemas.resolve(operation.spec.requestBody).content ?? {};
  return content["application/json"] ?? null;
}

function complaint(inputs, body) {
  const missing = inputs.find(({ input }) => input.required && !input.value);
  if (missing) return `${missing.parameter.name}: a value is needed.`;
  if (!body) return "";
  try {
    JSON.parse(body.value);
    return "";
  } catch (error) {
    return `Body: not JSON: ${error.message}`;
  }
}

function assemble(operation, inputs, body) {
  let path = operation.path;
  const query = new URLSearchParams();
  for (const { parameter, input } of inputs) {
    if (parameter.in === "path") path = path.replace(`{${parameter.name}}`, input.value ? encodeURIComponent(input.value) : `{${parameter.name}}`);
    else if (input.value) query.append(parameter.name, input.value);
  }
  // Relative to this page, so that it works below a proxy's path too.
  const url = new URL(`.${path}`, new URL("./", location.href));
  url.search = query.toString();
  return { method: operation.method.toUpperCase(), url, body: body?.value ?? null };
}

async function perform({ method, url, body }, headers) {
  const began = performance.now();
  try {
    const response = await fetch(url, {
      method,
      headers: body === null ? headers : { ...headers, "Content-Type": "application/json" },
      body,
      credentials: "omit",
      redirect: "error",
      signal: AbortSignal.timeout(DEADLINE_MS),
    });
    const text = await response.text();
    const took = performance.now() - began;
    const tone = response.ok ? "good" : "bad";
    const retry = response.headers.get("Retry-After");
    const notes = [`${milliseconds(took)} ms`, bytes(new TextEncoder().encode(text).length), retry && `retry after ${retry} s`];
    return [
      element("p", {}, element("strong", { className: `status ${tone}` }, `${response.status} ${response.statusText}`), ` ${notes.filter(Boolean).join(", ")}`),
      element("pre", { tabIndex: 0 }, pretty(text)),
    ];
  } catch (error) {
    const words = error.name === "TimeoutError" ? `no answer in ${DEADLINE_MS / 1000} s` : error.message;
    return [element("p", { className: "error" }, `No answer: ${words}`)];
  }
}

function pretty(text) {
  let shown = text || "(no body)";
  try {
    shown = JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    // Shown as it came.
  }
  return shown.length > SHOWN ? `${shown.slice(0, SHOWN)}\n…` : shown;
}

function curlLine({ method, url, body }, header) {
  // A template's braces, not filled in yet, are shown as braces.
  const address = quoted(url.href.replaceAll("%7B", "{").replaceAll("%7D", "}"));
  const parts = [["curl", method === "GET" ? "" : `-X ${method}`, address].filter(Boolean).join(" ")];
  // In double quotes, so that the shell puts the variable's value in.
  if (header) parts.push(`-H "${header}"`);
  if (body !== null) parts.push("-H 'Content-Type: application/json'", `-d ${quoted(compact(body))}`);
  return parts.join(" \\\n  ");
}

function compact(text) {
  try {
    return JSON.stringify(JSON.parse(text));
  } catch {
    return text;
  }
}

function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function labelled(name, input) {
  return element("div", { className: "field" }, element("label", { htmlFor: input.id }, name), input);
}
