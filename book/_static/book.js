// Says where a table or figure is wider than the screen, and leaves out of the keyboard's way what is not.
(() => {
  const look = (frame) => {
    const wide = frame.scrollWidth > frame.clientWidth + 1;
    if (wide) frame.tabIndex = 0;
    else frame.removeAttribute("tabindex");
    if (frame.tagName === "PRE") return;
    let hint = frame.previousElementSibling;
    if (!hint?.classList.contains("sanity-hint")) {
      hint = document.createElement("p");
      hint.className = "sanity-hint";
      hint.textContent = "\u2194 wider than the screen: scroll sideways";
      frame.before(hint);
    }
    hint.hidden = !wide;
  };
  const watch = new ResizeObserver((seen) => seen.forEach(({ target }) => look(target)));
  document.querySelectorAll(".sanity-scroll, pre[tabindex]").forEach((frame) => watch.observe(frame));
})();
