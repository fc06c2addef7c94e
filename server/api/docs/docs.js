// The API docs page: reads openapi.json and shows its operations by tag.

import { $, element } from "../console/lib/dom.js";
import { operationView } from "./operation.js";
import { prose } from "./prose.js";
import { Schemas } from "./schema.js";

const METHODS = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];
const DEADLINE_MS = 10_000;

// The headers of a request, and what a curl line says in their place.
function credentials() {
  const token = $("token").value.trim();
  const key = $("key").value.trim();
  if (key && !token) return { headers: { "X-API-Key": key }, curl: "X-API-Key: $TIDINGS_API_KEY" };
  return { headers: token ? { Authorization: `Bearer ${token}` } : {}, curl: "Authorization: Bearer $TIDINGS_TOKEN" };
}

function operationsOf(openapi, schemas) {
  return Object.entries(openapi.paths ?? {}).flatMap(([path, item]) =>
    METHODS.filter((method) => item[method]).map((method) => {
      const spec = item[method];
      const parameters = [...(item.parameters ?? []), ...(spec.parameters ?? [])].map((each) => schemas.resolve(each));
      return { method, path, spec, parameters, id: `${method}${path}`.replace(/[^A-Za-z0-9]+/g, "-") };
    }),
  );
}

function show(openapi) {
  const schemas = new Schemas(openapi);
  $("title").textContent = openapi.info?.title ?? "HTTP API";
  $("description").replaceChildren(...prose(openapi.info?.description ?? ""));
  const groups = new Map((openapi.tags ?? []).map(({ name, description }) => [name, { description, operations: [] }]));
  for (const operation of operationsOf(openapi, schemas)) {
    const tag = operation.spec.tags?.[0] ?? "other";
    if (!groups.has(tag)) groups.set(tag, { operations: [] });
    groups.get(tag).operations.push(operation);
  }
  for (const [tag, { description, operations }] of groups) {
    if (operations.length === 0) continue;
    $("operations").append(
      element("section", {}, element("h2", { className: "tag" }, tag), ...prose(description ?? "", "hint"),
        ...operations.map((operation) => operationView(operation, schemas, credentials))),
    );
    $("contents").append(element("h3", {}, tag), element("ul", {}, ...operations.map((operation) => element("li", {}, link(operation)))));
  }
  $("loading").hidden = true;
  $("api").hidden = false;
  openTarget();
}

function link({ id, method, path }) {
  // Long paths break at their slashes.
  const parts = path.split(/(?=\/)/).flatMap((part) => [part, element("wbr")]);
  const verb = element("span", { className: `method ${method}` }, method.toUpperCase());
  return element("a", { href: `#${id}` }, verb, element("span", {}, ...parts));
}

// A link to an operation opens it.
function openTarget() {
  const target = location.hash.length > 1 ? $(decodeURIComponent(location.hash.slice(1))) : null;
  if (target?.tagName !== "DETAILS") return;
  target.open = true;
  target.scrollIntoView();
}

for (const id of ["token", "key"]) {
  $(id).addEventListener("input", () => document.dispatchEvent(new Event("credentials")));
}
// They are used as they stand; there is nothing to submit.
$("access").addEventListener("submit", (event) => event.preventDefault());
addEventListener("hashchange", openTarget);

try {
  const response = await fetch("openapi.json", { signal: AbortSignal.timeout(DEADLINE_MS) });
  if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
  show(await response.json());
} catch (error) {
  $("loading").textContent = `openapi.json could not be read: ${error.message}`;
}
