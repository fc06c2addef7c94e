// Lists that change while somebody reads them.

// Make the children of `list` these nodes, in this order. What stays is not touched: it keeps its focus and its
// selection, and a screen reader is told of what is new alone.
export function arrange(list, nodes) {
  const wanted = new Set(nodes);
  for (const child of [...list.children]) if (!wanted.has(child)) child.remove();
  let place = list.firstElementChild;
  for (const node of nodes) {
    if (node === place) place = place.nextElementSibling;
    else list.insertBefore(node, place);
  }
}
