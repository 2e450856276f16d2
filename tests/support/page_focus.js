// What is wrong with how the page shows the focus, and with the contrast of its figures; run inside the page by
// tests/support/page_rules.py, after a key, so that the browser shows the focus at all.

({ targets, figures, ring: RING, ringContrast: RING_CONTRAST, figureContrast: FIGURE_CONTRAST }) => {
  const complaints = [];
  const channel = (value) => (value /= 255) <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const numbers = (colour) => colour.match(/[\d.]+/g).map(Number);
  const ground = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const [r, g, b, a = 1] = numbers(getComputedStyle(at).backgroundColor);
      if (a > 0) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const contrast = (one, other) => {
    const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (light + 0.05) / (dark + 0.05);
  };
  const isShown = (node) => node.checkVisibility({ visibilityProperty: true }) && !node.closest("[inert]") && !node.disabled;
  const name = (node) => `${node.tagName.toLowerCase()} “${(node.getAttribute("aria-label") || node.textContent.trim() || node.id).slice(0, 40)}”`;

  const before = document.activeElement;
  for (const node of [...document.querySelectorAll(targets)].filter(isShown)) {
    node.focus();
    if (document.activeElement !== node) {
      complaints.push(`focus: ${name(node)} does not take it`);
      continue;
    }
    const { outlineStyle, outlineWidth, outlineColor, outlineOffset } = getComputedStyle(node);
    const width = outlineStyle === "none" ? 0 : parseFloat(outlineWidth);
    if (width < RING) complaints.push(`focus: the ring of ${name(node)} is ${width} px wide`);
    else {
      const least = contrast(numbers(outlineColor), ground(parseFloat(outlineOffset) < 0 ? node : node.parentElement));
      if (least < RING_CONTRAST) complaints.push(`focus: the ring of ${name(node)} has a contrast of ${least.toFixed(1)}`);
    }
    const box = node.getBoundingClientRect();
    const top = document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2);
    if (!top || !(node.contains(top) || top.contains(node))) {
      complaints.push(`focus: ${name(node)} has it and lies under ${top ? name(top) : "the edge of the window"}`);
    }
  }
  before?.focus?.();
  for (const node of [...document.querySelectorAll(figures)].filter(isShown)) {
    const is = contrast(numbers(getComputedStyle(node).color), ground(node));
    if (is < FIGURE_CONTRAST) complaints.push(`contrast: ${name(node)} has ${is.toFixed(1)}, least ${FIGURE_CONTRAST}`);
  }
  return complaints;
}
