// Where components are mounted: Vue's own renderer over plain objects, in place of a browser's document.
"use strict";

const { createRenderer } = require("vue");

class Node {
  constructor(tag, text = "") {
    Object.assign(this, { tag, text, props: {}, children: [], parent: null });
  }

  // The texts below it, one for each node that has any of its own.
  get textContent() {
    return this.text + this.children.map((child) => child.textContent).join("");
  }

  all(fits) {
    return [...(fits(this) ? [this] : []), ...this.children.flatMap((child) => child.all(fits))];
  }

  // As when a person does it: the listener that Vue put there is called.
  dispatch(listener, event) {
    this.props[listener]({ target: this, ...event });
  }
}

function remove(node) {
  if (node.parent) node.parent.children.splice(node.parent.children.indexOf(node), 1);
  node.parent = null;
}

const { createApp } = createRenderer({
  createElement: (tag) => new Node(tag),
  createText: (text) => new Node("#text", text),
  createComment: () => new Node("#comment"),
  setText: (node, text) => void (node.text = text),
  setElementText: (node, text) => void (node.children = [new Node("#text", text)]),
  patchProp: (node, name, _before, now) => void (node.props[name] = now),
  parentNode: (node) => node.parent,
  nextSibling: (node) => node.parent.children[node.parent.children.indexOf(node) + 1] ?? null,
  remove,
  insert(node, parent, before) {
    remove(node);
    parent.children.splice(before ? parent.children.indexOf(before) : parent.children.length, 0, node);
    node.parent = parent;
  },
});

module.exports = { createApp, screen: () => new Node("#screen") };
