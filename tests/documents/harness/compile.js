// Compiles what a document prints, as a front end's build would, and changes nothing of it: TypeScript by esbuild,
// components by Vue's own compiler.
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const esbuild = require("esbuild");
const { compileScript, compileTemplate, parse } = require("vue/compiler-sfc");

// What is compiled runs as the body of a function: the names that a text takes from around it are the function's
// parameters, so that each text gets its own surroundings and none of them reaches into the harness.
function run(typescript, file, scope, wanted = []) {
  const options = { loader: "ts", format: "cjs", sourcefile: file, target: "es2022" };
  const { code } = esbuild.transformSync(typescript, options);
  const module = { exports: {} };
  const names = ["module", "exports", ...Object.keys(scope)];
  const tail = `\nreturn { ${wanted.join(", ")} };\n//# sourceURL=${file}`;
  const locals = new Function(...names, code + tail)(module, module.exports, ...Object.values(scope));
  return { exports: module.exports, locals };
}

function component(source, file, scope) {
  const { descriptor, errors } = parse(source, { filename: file });
  if (errors.length) throw errors[0];
  const script = compileScript(descriptor, { id: file });
  const compiled = run(script.content, file, scope).exports.default;
  if (descriptor.template === null) return { ...compiled, render: () => null };
  const template = compileTemplate({
    source: descriptor.template.content,
    filename: file,
    id: file,
    compilerOptions: { bindingMetadata: script.bindings },
  });
  if (template.errors.length) throw template.errors[0];
  return { ...compiled, render: run(template.code, file, scope).exports.render };
}

// The files of one document: `scope` is what its page provides. `@` is their root, as in a Vue project.
class Sources {
  #root;
  #scope;
  #loaded = new Map();

  constructor(root, scope) {
    this.#root = root;
    this.#scope = { ...scope, require: (name) => this.#require(name) };
  }

  component(name) {
    return component(this.#read(name), name, this.#scope);
  }

  // Runs a text that is not a module; returns those of its own names that are wanted.
  snippet(name, more, wanted) {
    return run(this.#read(name), name, { ...this.#scope, ...more }, wanted).locals;
  }

  module(name) {
    if (!this.#loaded.has(name)) this.#loaded.set(name, run(this.#read(name), name, this.#scope).exports);
    return this.#loaded.get(name);
  }

  #require(name) {
    return name.startsWith("@/") ? this.module(`${name.slice(2)}.ts`) : require(name);
  }

  #read(name) {
    return fs.readFileSync(path.join(this.#root, name), "utf8");
  }
}

module.exports = { Sources };
