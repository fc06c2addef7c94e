// JSON Schema, as far as OpenAPI documents use it: resolved, in words, and as an example.

// Deeper nesting than this is named and not spelled out: a schema may contain itself.
const DEPTH = 6;

// The schemas of one OpenAPI document.
export class Schemas {
  #document;

  constructor(document) {
    this.#document = document;
  }

  // Follow `$ref`s, of which there may be a chain; one that leads nowhere, or in a circle, is anything.
  resolve(node) {
    let current = node;
    const seen = new Set();
    while (typeof current?.$ref === "string") {
      if (seen.has(current.$ref)) return {};
      seen.add(current.$ref);
      const path = current.$ref.replace(/^#\//, "").split("/");
      const names = path.map((part) => decodeURIComponent(part).replaceAll("~1", "/").replaceAll("~0", "~"));
      current = names.reduce((found, name) => found?.[name], this.#document);
    }
    return current ?? {};
  }

  // The type in words: "string or null", "array of Publication".
  typeOf(node, depth = 0) {
    const schema = this.resolve(node);
    const choices = alternatives(schema);
    if (choices) {
      return [...new Set(choices.map((choice) => this.typeOf(choice, depth + 1)))].join(" or ");
    }
    if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
    if ("const" in schema) return JSON.stringify(schema.const);
    const types = Array.isArray(schema.type) ? schema.type : [schema.type ?? (schema.properties ? "object" : "any")];
    return types.map((type) => (type === "array" ? this.#arrayOf(schema, depth) : this.#named(type, schema))).join(" or ");
  }

  #arrayOf(schema, depth) {
    return depth < DEPTH && schema.items ? `array of ${this.typeOf(schema.items, depth + 1)}` : "array";
  }

  #named(type, schema) {
    if (type !== "object") return schema.format ? `${type} (${schema.format})` : type;
    return schema.title ?? "object";
  }

  // What a value must keep to, each as a few words.
  constraintsOf(node) {
    const schema = this.resolve(node);
    const found = [];
    const say = (key, words) => schema[key] !== undefined && found.push(words(schema[key]));
    say("minLength", (n) => `at least ${n} character${n === 1 ? "" : "s"}`);
    say("maxLength", (n) => `at most ${n} characters`);
    say("minimum", (n) => `≥ ${n}`);
    say("maximum", (n) => `≤ ${n}`);
    say("exclusiveMinimum", (n) => `> ${n}`);
    say("exclusiveMaximum", (n) => `< ${n}`);
    say("multipleOf", (n) => `a multiple of ${n}`);
    say("minItems", (n) => `at least ${n} item${n === 1 ? "" : "s"}`);
    say("maxItems", (n) => `at most ${n} items`);
    if (schema.uniqueItems) found.push("no item twice");
    say("pattern", (pattern) => `matches ${pattern}`);
    if (schema.default !== undefined && schema.default !== null) found.push(`default ${JSON.stringify(schema.default)}`);
    for (const choice of alternatives(schema) ?? []) found.push(...this.constraintsOf(choice));
    return [...new Set(found)];
  }

  // The fields of an object, or of the objects in an array or among alternatives:
  // [{name, type, required, constraints, description, fields}]. `within` holds the schemas around it.
  fieldsOf(node, within = []) {
    const schema = this.resolve(node);
    if (within.includes(schema) || within.length >= DEPTH) return [];
    const around = [...within, schema];
    const own = Object.entries(schema.properties ?? {}).map(([name, field]) => ({
      name,
      type: this.typeOf(field),
      required: (schema.required ?? []).includes(name),
      constraints: this.constraintsOf(field),
      description: field.description ?? this.resolve(field).description ?? "",
      fields: this.fieldsOf(field, around),
    }));
    const inner = [schema.items, ...(alternatives(schema) ?? []), ...(schema.allOf ?? [])].filter(Boolean);
    const fields = [...own, ...inner.flatMap((part) => this.fieldsOf(part, around))];
    // Alternatives share fields: each is told once.
    return fields.filter((field, index) => fields.findIndex((other) => other.name === field.name) === index);
  }

  // A value that the schema allows, as far as can be told: given examples first, then defaults, then made up.
  // `hint` is the field's name, for values that a person recognises.
  example(node, depth = 0, hint = "") {
    const schema = this.resolve(node);
    const given = [schema.example, asList(schema.examples)[0], schema.const, schema.enum?.[0]].find((value) => value !== undefined);
    if (given !== undefined) return given;
    if (schema.default !== undefined && schema.default !== null) return schema.default;
    if (hint in KNOWN && schema.type === typeof KNOWN[hint]) return KNOWN[hint];
    const choices = alternatives(schema);
    if (choices) return this.example(choices.find((choice) => this.resolve(choice).type !== "null") ?? {}, depth, hint);
    if (schema.allOf) return Object.assign({}, ...schema.allOf.map((part) => this.example(part, depth + 1)));
    const type = (Array.isArray(schema.type) ? schema.type.find((each) => each !== "null") : schema.type) ?? (schema.properties ? "object" : "any");
    switch (type) {
      case "object":
        return depth < DEPTH ? this.#objectExample(schema, depth) : {};
      case "array":
        return depth < DEPTH && schema.items ? [this.example(schema.items, depth + 1, hint)] : [];
      case "integer":
      case "number":
        return schema.minimum ?? (schema.exclusiveMinimum !== undefined ? schema.exclusiveMinimum + 1 : 0);
      case "boolean":
        return false;
      case "string":
        return stringExample(schema);
      default:
        return {};
    }
  }

  // What is required, or where nothing is, what has a default: another optional field with a made-up value
  // would change what the request does.
  #objectExample(schema, depth) {
    const entries = Object.entries(schema.properties ?? {});
    const required = entries.filter(([name]) => (schema.required ?? []).includes(name));
    const shown = required.length ? required : entries.filter(([, field]) => (this.resolve(field).default ?? null) !== null);
    return Object.fromEntries(shown.map(([name, field]) => [name, this.example(field, depth + 1, name)]));
  }
}

function alternatives(schema) {
  return schema.oneOf ?? schema.anyOf ?? null;
}

function asList(value) {
  if (Array.isArray(value)) return value;
  return value && typeof value === "object" ? Object.values(value).map((each) => each?.value ?? each) : [];
}

// Names that this server's API uses, with values that it accepts.
const KNOWN = { channel: "room:lobby", channels: "all", event: "system_message", payload: { message: "Hello" } };

function stringExample(schema) {
  if (schema.format === "date-time") return "2026-01-31T12:00:00Z";
  const text = "string";
  return text.padEnd(schema.minLength ?? 0, "x").slice(0, schema.maxLength ?? text.length + (schema.minLength ?? 0));
}
