// One operation: what it is, what it takes, what it answers.

import { element } from "../console/lib/dom.js";
import { marked, prose } from "./prose.js";
import { tryIt } from "./request.js";

const ANSWER_NAMES = { 1: "info", 2: "good", 3: "info", 4: "bad", 5: "bad" };

// The operation as an open-and-close box. Its inside is made when it is first opened.
export function operationView(operation, schemas, credentials) {
  const { method, path, spec } = operation;
  const summary = element(
    "summary",
    {},
    element("span", { className: `method ${method}` }, method.toUpperCase()),
    element("code", { className: "path" }, path),
    element("span", { className: "hint" }, spec.summary ?? ""),
  );
  const box = element("details", { className: "card operation", id: operation.id }, summary);
  box.addEventListener("toggle", () => box.append(inside(operation, schemas, credentials)), { once: true });
  return box;
}

function inside(operation, schemas, credentials) {
  const { spec, parameters } = operation;
  const body = schemas.resolve(spec.requestBody);
  const parts = [...prose(spec.description ?? "")];
  if (spec.deprecated) parts.unshift(element("p", { className: "error" }, "Deprecated."));
  if (parameters.length) {
    const fields = parameters.map((parameter) => ({
      name: parameter.name,
      type: schemas.typeOf(parameter.schema ?? {}),
      required: parameter.required === true,
      constraints: [`in ${parameter.in}`, ...schemas.constraintsOf(parameter.schema ?? {})],
      description: parameter.description ?? "",
      fields: [],
    }));
    parts.push(element("h3", {}, "Parameters"), fieldList(fields));
  }
  const content = Object.entries(body.content ?? {});
  for (const [mediaType, { schema }] of content) {
    parts.push(element("h3", {}, `Body: ${mediaType}`), ...schemaView(schema, schemas));
  }
  parts.push(element("h3", {}, "Answers"), ...Object.entries(spec.responses ?? {}).map(([status, answer]) => answerView(status, schemas.resolve(answer), schemas)));
  parts.push(element("h3", {}, "Try it"), tryIt(operation, schemas, credentials));
  return element("div", { className: "inside" }, ...parts);
}

function answerView(status, answer, schemas) {
  const content = Object.entries(answer.content ?? {});
  const title = element("summary", {}, element("code", { className: `status ${ANSWER_NAMES[status[0]] ?? "info"}` }, status), " ", ...marked(answer.description ?? ""));
  const headers = Object.entries(answer.headers ?? {}).map(([name, header]) => ({
    name,
    type: schemas.typeOf(schemas.resolve(header).schema ?? {}),
    required: false,
    constraints: ["header"],
    description: schemas.resolve(header).description ?? "",
    fields: [],
  }));
  const parts = headers.length ? [fieldList(headers)] : [];
  for (const [mediaType, { schema }] of content) {
    parts.push(element("p", { className: "hint" }, mediaType), ...schemaView(schema, schemas));
  }
  if (parts.length === 0) return element("p", { className: "answer bare" }, ...title.childNodes);
  return element("details", { className: "answer", open: status.startsWith("2") }, title, ...parts);
}

function schemaView(schema, schemas) {
  if (!schema) return [];
  const resolved = schemas.resolve(schema);
  const about = [schemas.typeOf(schema), ...schemas.constraintsOf(schema)].join("; ");
  const fields = schemas.fieldsOf(schema);
  return [element("p", { className: "type" }, about), ...prose(resolved.description ?? "", "hint"), ...(fields.length ? [fieldList(fields)] : [])];
}

function fieldList(fields) {
  return element(
    "ul",
    { className: "fields" },
    ...fields.map((field) =>
      element(
        "li",
        {},
        element("div", { className: "field-head" },
          element("code", { className: "name" }, field.name),
          element("span", { className: "type" }, field.type),
          element("span", { className: field.required ? "needed" : "optional" }, field.required ? "required" : "optional"),
          ...field.constraints.map((words) => element("span", { className: "constraint" }, words))),
        ...prose(field.description, "hint"),
        ...(field.fields.length ? [fieldList(field.fields)] : []),
      ),
    ),
  );
}
