// The one way this page makes elements: texts become text nodes, never markup, whatever a scanned code holds.

const SVG = "http://www.w3.org/2000/svg";

// Returns an element. `props` are attributes; a function under "onclick" and the like becomes a listener, and null,
// undefined and false are left out. `kids` are nodes and texts; null and false are left out.
export function el(tag, props = {}, ...kids) {
  return filled(document.createElement(tag), props, kids);
}

// The same for SVG.
export function svg(tag, props = {}, ...kids) {
  return filled(document.createElementNS(SVG, tag), props, kids);
}

function filled(node, props, kids) {
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...kids.flat().filter((kid) => kid !== null && kid !== undefined && kid !== false));
  return node;
}

// Gives a node these children, but replaces only those that differ from what it has: what has the focus keeps it.
export function put(node, ...kids) {
  const next = [...filled(document.createDocumentFragment(), {}, kids.flat()).childNodes];
  const old = [...node.childNodes];
  next.forEach((kid, at) => {
    if (!old[at]) node.append(kid);
    else if (!old[at].isEqualNode(kid)) old[at].replaceWith(kid);
  });
  old.slice(next.length).forEach((kid) => kid.remove());
}
