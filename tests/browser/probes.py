"""What is asked of a page in the browser: JavaScript expressions, and what their values mean."""

from __future__ import annotations

ANSWER = """(() => {
  const outputs = [...document.querySelectorAll('.sanity-answer, .bd-article .cell_output')];
  const says = (o) => !o.querySelector('.sanity-profile') && o.offsetHeight && o.innerText.trim();
  const shown = outputs.find(says);
  return shown ? Math.round(shown.getBoundingClientRect().top + scrollY) : null;
})()"""
"""Pixels from the top of the page to the first computed result (or what is marked as the answer)."""

TEXT = """[...document.querySelectorAll('.sanity-figure img[data-text]')].map((i) =>
  Math.round(10 * i.dataset.text * i.getBoundingClientRect().width / i.getAttribute('width')) / 10)"""
"""Pixels of the smallest text of every figure, as shown."""

OUTSIDE = """[...document.querySelectorAll('.sanity-figure img[data-outside]')].reduce((n, i) =>
  n + Number(i.dataset.outside), 0)"""
"""Marks of figures that lie outside of their panel."""

FIGURES = """(() => {
  const all = [...document.querySelectorAll('.sanity-figure')];
  return [all.length, all.filter((f) => !f.querySelector('.sanity-data a[href$=".csv"]')).length,
          all.filter((f) => !f.querySelector('.sanity-enlarge')).length];
})()"""
"""Figures; those without a CSV; those without a link to the whole image."""

OVERFLOW = """(() => {
  const wide = document.documentElement.clientWidth;
  const scrolls = (e) => { for (let p = e.parentElement; p; p = p.parentElement)
    if (/auto|scroll|hidden|clip/.test(getComputedStyle(p).overflowX)) return true; return false; };
  return [...document.querySelectorAll('.bd-article *')].filter((e) => {
    const box = e.getBoundingClientRect();
    return box.width > 1 && box.right > wide + 1 && !scrolls(e);
  }).map((e) => `${e.tagName.toLowerCase()}.${[...e.classList].join('.')}`);
})()"""
"""What sticks out of the screen and cannot be scrolled to within a frame of its own."""

TABLES = """(() => {
  const all = [...document.querySelectorAll('.bd-article table')];
  return [all.length, all.filter((t) => !t.closest('[role=region][aria-label]')).length,
    all.filter((t) => [...t.querySelectorAll('th')].some((h) => !h.scope || !h.textContent.trim())).length,
    Math.max(0, ...all.filter((t) => !t.closest('details')).map((t) => t.rows.length))];
})()"""
"""Tables; without a named frame; with a header that is empty or without scope; rows of the longest open."""

AXE = """axe.run(document, {
  resultTypes: ['violations'], rules: {'label-content-name-mismatch': {enabled: true}},
}).then((r) => r.violations.map((v) => [v.id, v.nodes.length, v.nodes[0].target.flat().join(' '),
    v.nodes[0].html.slice(0, 160), (v.nodes[0].any[0] || v.nodes[0].all[0] || {}).message || '']))"""
"""Every rule that is broken: its name, how often, where first, and how."""

HITS = """[...document.querySelectorAll('#search-results li')].map((l) =>
  (l.querySelector('.context') || {}).textContent || '')"""
"""What the search page shows of every page that it has found."""

RAW = r"""(() => {
  const apart = ['code', 'pre', 'script', 'style', '[role=math]', '.math', 'mjx-container', '.sanity-data',
    '.sanity-provenance', '[data-widget=quiz]', '.sanity-context', 'svg', 'details.hide'].join();
  const known = ['d_in', 'd_sae', 'n_features', 'dictionary_learning'];
  const name = /(?<![^\s(,:;])[a-z]+(?:_[a-z0-9]+)+(?![^\s),:;])/g;
  const text = document.querySelector('.bd-article') || document.body;
  const walk = document.createTreeWalker(text, NodeFilter.SHOW_TEXT);
  const found = new Set();
  while (walk.nextNode())
    if (!walk.currentNode.parentElement.closest(apart))
      for (const one of walk.currentNode.data.match(name) || [])
        if (!known.includes(one)) found.add(one);
  return [...found];
})()"""
"""Names of the code in sentences and tables, where a reader expects words; symbols are none."""

WIDGETS = "[...document.querySelectorAll('[data-widget]')].map((w) => w.dataset.widget)"
"""The kinds of the things on a page that can be moved."""
