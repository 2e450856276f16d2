// What is wrong with how the page stands now, one complaint a line; run inside the page by tests/support/page_rules.py.
//
// Everything is measured in CSS pixels on the boxes that people see. A part counts as shown when the browser says so and
// it has not been clipped away for screen readers only; what lies in an inert part does not count, because nobody can
// get at it.

({ target: TARGET, primary: PRIMARY, gap: GAP, targets, primaries, fold }) => {
  const complaints = new Set();
  const width = document.documentElement.clientWidth;
  const height = document.documentElement.clientHeight;
  const isClippedAway = (node) => node.offsetWidth <= 1 && node.offsetHeight <= 1 && getComputedStyle(node).overflow === "hidden";
  const isShown = (node) => {
    if (!node.checkVisibility({ visibilityProperty: true, opacityProperty: true }) || node.closest("[inert]")) return false;
    for (let at = node; at instanceof HTMLElement; at = at.parentElement) if (isClippedAway(at)) return false;
    return true;
  };
  const name = (node) => {
    const said = node.getAttribute("aria-label") || node.textContent.trim() || node.id || node.className.baseVal || node.className;
    return `${node.tagName.toLowerCase()} “${said.slice(0, 40)}”`;
  };
  const round = (value) => Math.round(value * 10) / 10;
  const intersection = (a, b) => [
    Math.min(a.right, b.right) - Math.max(a.left, b.left),
    Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top),
  ];

  // What an ancestor clips is not seen; what it lets scroll can be brought into sight.
  const clippedBox = (node, box, canScroll = true) => {
    let { left, top, right, bottom } = box;
    for (let at = node; at && at !== document.body && at !== document.documentElement; at = at.parentElement) {
      const { overflowX, overflowY } = getComputedStyle(at);
      if (at === node || overflowX === "visible" || (!canScroll && /auto|scroll/.test(overflowY))) continue;
      const edge = at.getBoundingClientRect();
      [left, top] = [Math.max(left, edge.left), Math.max(top, edge.top)];
      [right, bottom] = [Math.min(right, edge.right), Math.min(bottom, edge.bottom)];
    }
    return { left, top, right, bottom, width: right - left, height: bottom - top };
  };
  // What stays put while the page scrolls under it.
  const layerOf = (node) => {
    for (let at = node; at && at !== document.body; at = at.parentElement) {
      if (["fixed", "sticky"].includes(getComputedStyle(at).position)) return at;
    }
    return document.body;
  };

  const all = [...document.querySelectorAll(targets)].filter(isShown);
  const boxes = all.map((node) => [node, clippedBox(node, node.getBoundingClientRect()), layerOf(node)]);
  for (const [node] of boxes) {
    const box = clippedBox(node, node.getBoundingClientRect(), false);
    const least = node.matches(primaries) ? PRIMARY : TARGET;
    if (box.width + 0.5 < TARGET || box.height + 0.5 < least) {
      complaints.add(`small: ${name(node)} is ${round(box.width)} x ${round(box.height)}, least ${TARGET} x ${least}`);
    }
  }
  const seen = boxes.filter(([, box]) => box.width > 0 && box.height > 0);
  seen.forEach(([one, a, layer], index) => {
    for (const [other, b, otherLayer] of seen.slice(index + 1)) {
      if (one.contains(other) || other.contains(one) || layer !== otherLayer) continue;
      const [x, y] = intersection(a, b);
      if (x > 0.5 && y > 0.5) complaints.add(`overlap: ${name(one)} and ${name(other)}`);
      else if (x > -GAP + 0.5 && y > -GAP + 0.5) {
        complaints.add(`gap: ${name(one)} and ${name(other)} stand ${round(Math.max(-x, -y))} apart, least ${GAP}`);
      }
    }
  });

  const texts = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode;
    const node = text.parentElement;
    if (!text.data.trim() || node.closest("noscript, script, style") || !isShown(node)) continue;
    const range = document.createRange();
    range.selectNodeContents(text);
    for (const line of range.getClientRects()) {
      // A line's box is as high as its font may ever need; letters stand in the middle of it.
      const inset = line.height / 5;
      const whole = { left: line.left, right: line.right, top: line.top + inset, bottom: line.bottom - inset };
      const box = clippedBox(node, whole);
      if (box.width > 0 && box.height > 0) texts.push([node, box, text.data.trim().slice(0, 40), layerOf(node)]);
    }
  }
  const isPainted = (node) => {
    const { backgroundColor, borderTopWidth, borderTopColor, display } = getComputedStyle(node);
    const isOpaque = (colour) => !/^rgba\(.*, 0\)$|^transparent$/.test(colour);
    return display !== "contents" && (isOpaque(backgroundColor) || (parseFloat(borderTopWidth) > 0 && isOpaque(borderTopColor)));
  };
  for (const [node, box, said] of texts) {
    if (box.left < -0.5 || box.right > width + 0.5) complaints.add(`outside: “${said}” leaves the window`);
    for (let at = node; at && at !== document.documentElement; at = at.parentElement) {
      if (at !== document.body && !isPainted(at)) continue;
      const edge = at.getBoundingClientRect();
      const isIn =
        box.left >= edge.left - 1 && box.right <= edge.right + 1 && box.top >= edge.top - 1 && box.bottom <= edge.bottom + 1;
      const scrolls = /auto|scroll/.test(getComputedStyle(at).overflowY);
      if (!isIn && !scrolls) complaints.add(`spills: “${said}” leaves ${name(at)}`);
      if (scrolls) break;
    }
  }
  texts.forEach(([node, a, said, layer], index) => {
    for (const [other, b, alsoSaid, otherLayer] of texts.slice(index + 1)) {
      const [x, y] = intersection(a, b);
      if (x > 1 && y > 1 && layer === otherLayer) complaints.add(`overlap: “${said}” and “${alsoSaid}”`);
    }
    for (const [target, b, targetLayer] of seen) {
      if (target.contains(node) || node.contains(target) || layer !== targetLayer) continue;
      const [x, y] = intersection(a, b);
      if (x > 1 && y > 1) complaints.add(`overlap: “${said}” and ${name(target)}`);
    }
  });

  for (const node of document.body.querySelectorAll("*")) {
    if (!(node instanceof HTMLElement) || !isShown(node)) continue;
    const { overflowX, overflowY, textOverflow } = getComputedStyle(node);
    const wide = node.scrollWidth - node.clientWidth;
    const high = node.scrollHeight - node.clientHeight;
    if (node.matches("input, textarea, select")) continue;
    if (overflowX !== "visible" && wide > 1) complaints.add(`cut: ${name(node)} hides ${wide} px of its width`);
    if (/hidden|clip/.test(overflowY) && high > 1) complaints.add(`cut: ${name(node)} hides ${high} px of its height`);
    if (textOverflow === "ellipsis" && wide > 0) complaints.add(`cut: ${name(node)} ends in dots`);
  }
  const aside = document.documentElement.scrollWidth - width;
  if (aside > 0) complaints.add(`scroll: the page is ${aside} px wider than the window`);

  const top = document.scrollingElement.scrollTop;
  for (const node of document.querySelectorAll(fold)) {
    if (!isShown(node)) continue;
    const bottom = node.getBoundingClientRect().bottom + top;
    if (bottom > height + 0.5) complaints.add(`fold: ${name(node)} ends at ${round(bottom)}, the window at ${height}`);
  }
  // What stays at the bottom of the window must leave room below the last of what scrolls.
  for (const layer of new Set(boxes.map(([, , at]) => at))) {
    if (layer === document.body || getComputedStyle(layer).position !== "fixed") continue;
    const edge = layer.getBoundingClientRect();
    const end = document.documentElement.scrollHeight - height;
    for (const [node, box, , itsLayer] of texts) {
      const moved = { ...box, top: box.top + top - end, bottom: box.bottom + top - end };
      const [x, y] = intersection(moved, edge);
      if (itsLayer === document.body && x > 1 && y > 1 && moved.bottom > edge.top) {
        complaints.add(`covered: ${name(node)} lies under ${name(layer)} for ever`);
      }
    }
  }
  for (const animation of document.getAnimations()) {
    if (animation.effect.getTiming().iterations === Infinity) complaints.add(`blinks: ${name(animation.effect.target)}`);
  }
  return [...complaints];
}
