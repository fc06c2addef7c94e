// Small helpers around SVG.

const NAMESPACE = "http://www.w3.org/2000/svg";

// svg("line", {x1: 0, class: "grid"}, child): attributes, and children as nodes or text.
export function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS(NAMESPACE, tag);
  change(made, attributes);
  made.append(...children);
  return made;
}

export function change(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
}

// Have as many children in `group` as `entries`, and fill each: nothing is made anew that is there.
export function fill(group, entries, make, draw) {
  while (group.childElementCount > entries.length) group.lastElementChild.remove();
  while (group.childElementCount < entries.length) group.append(make());
  entries.forEach((entry, index) => draw(group.children[index], entry));
}
