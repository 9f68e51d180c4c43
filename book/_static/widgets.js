// Brings to life what sanity/publishing/widgets.py has written: sliders over computed results, and the quiz.
(() => {
  const make = (name, text, attributes = {}) => {
    const element = document.createElement(name);
    element.textContent = text;
    Object.entries(attributes).forEach(([key, value]) => element.setAttribute(key, value));
    return element;
  };
  const dataOf = (widget) => JSON.parse(widget.querySelector("script[type='application/json']").textContent);

  const swatch = (colour) => make("span", "", { class: "sanity-swatch", style: `background:${colour}`, "aria-hidden": "true" });

  // A cell: a word with its colour, or a share with its bar.
  const fill = (cell, value, colours) => {
    cell.replaceChildren();
    cell.removeAttribute("style");
    cell.className = "";
    if (value === null) cell.textContent = "–";
    else if (typeof value === "string") {
      if (colours[value]) cell.append(swatch(colours[value]));
      cell.append(value);
    } else {
      cell.textContent = value.toFixed(3);
      cell.className = "sanity-share";
      cell.style.setProperty("--share", Math.min(1, Math.max(0, value)));
    }
  };

  // Rows of other tables, and cards, that are named like a row of the slider: they take its colour.
  const namesakes = (widget, names) => {
    const found = new Map(names.map((name) => [name, []]));
    document.querySelectorAll(".sanity-card").forEach((card) => card.querySelectorAll("p").forEach((line) => {
      found.get(line.textContent.trim())?.push(card);
    }));
    document.querySelectorAll("table tbody tr").forEach((row) => {
      if (widget.contains(row) || !row.cells.length) return;
      found.get(row.cells[0].textContent.trim())?.push(row);
    });
    return found;
  };

  const slide = (widget) => {
    const { steps, rows, values, colours } = dataOf(widget);
    const input = widget.querySelector("input");
    const output = widget.querySelector("output");
    const said = widget.querySelector(".sanity-said");
    const lines = widget.querySelectorAll("tbody tr");
    const others = Object.keys(colours).length ? namesakes(widget, rows) : new Map();
    const show = () => {
      const at = Number(input.value);
      output.textContent = steps[at];
      input.setAttribute("aria-valuetext", steps[at]);
      const counts = new Map();
      values[at].forEach((line, row) => line.forEach((value, column) => {
        fill(lines[row].querySelectorAll("td")[column], value, colours);
        if (typeof value === "string") counts.set(value, (counts.get(value) || 0) + 1);
        if (column === 0) others.get(rows[row])?.forEach((other) => {
          other.style.boxShadow = colours[value] ? `inset 6px 0 0 ${colours[value]}` : "";
          other.dataset.moved = value ?? "";
        });
      }));
      said.textContent = counts.size
        ? `At ${steps[at]}: ${[...counts].map(([word, count]) => `${count} ${word}`).join(", ")}.` : "";
    };
    input.addEventListener("input", show);
    show();
  };

  // Wilson's interval for `right` of `asked`, at 95 %.
  const wilson = (right, asked) => {
    const z = 1.959964, share = right / asked, wide = 1 + (z * z) / asked;
    const middle = (share + (z * z) / (2 * asked)) / wide;
    const half = (z / wide) * Math.sqrt((share * (1 - share)) / asked + (z * z) / (4 * asked * asked));
    return [middle - half, middle + half];
  };
  const percent = (share) => `${Math.round(100 * share)} %`;
  const inWords = (right, asked) => {
    const [low, high] = wilson(right, asked);
    return `${right} of ${asked} right, ${percent(right / asked)} (95 % interval ${percent(low)} to ${percent(high)})`;
  };

  const quiz = (widget) => {
    const { key, judge, all } = dataOf(widget);
    const questions = [...widget.querySelectorAll("fieldset")];
    const stop = widget.querySelector("[data-do=stop]");
    const outcome = widget.querySelector(".sanity-outcome");
    const answers = [];

    const ask = (number) => {
      questions.forEach((one, i) => { one.hidden = i !== number; });
      stop.disabled = number === 0;
      if (number) questions[number].querySelector("legend").focus();
    };
    const finish = () => {
      const given = answers.map((answer, i) => ({ ...key[i], answer, right: answer === key[i].trained }));
      const mine = given.filter((one) => one.right).length;
      const [low, high] = wilson(mine, given.length);
      const verdict = low > 0.5 ? "That is better than guessing."
        : high < 0.5 ? "That is worse than guessing." : "Guessing, which is right half of the time, is not ruled out.";
      outcome.replaceChildren(make("p", `You: ${inWords(mine, given.length)}. ${verdict}`));
      const judged = given.filter((one) => one.judge !== null);
      if (judged.length) {
        const points = judged.reduce((sum, one) => sum + one.judge, 0);
        const own = judged.filter((one) => one.right).length;
        const gap = Math.round((100 * (points - own)) / judged.length);
        const better = gap > 0 ? `${gap} points better than you` : gap < 0 ? `${-gap} points worse than you` : "as good as you";
        outcome.append(make("p", `${judge} on the same pairs: ${inWords(points, judged.length)}, ${better}.`));
      }
      if (all.length) {
        const points = all.reduce((sum, one) => sum + one, 0);
        outcome.append(make("p", `${judge} on all ${all.length} pairs that there are: ${inWords(points, all.length)}.`));
      }
      const arms = [...new Set(given.map((one) => one.other))];
      const list = make("ul", "");
      arms.forEach((arm) => {
        const part = given.filter((one) => one.other === arm);
        list.append(make("li", `trained or ${arm}: ${part.filter((one) => one.right).length} of ${part.length} right`));
      });
      const again = make("button", "Ask me again", { type: "button" });
      again.addEventListener("click", () => { answers.length = 0; outcome.hidden = true; widget.querySelector("form").hidden = false; ask(0); questions[0].querySelector("button").focus(); });
      outcome.append(list, again);
      widget.querySelector("form").hidden = true;
      outcome.hidden = false;
      outcome.focus();
    };
    widget.addEventListener("click", ({ target }) => {
      const say = target.closest?.("[data-say]")?.dataset.say;
      if (say) {
        answers.push(say);
        if (answers.length === questions.length) finish();
        else ask(answers.length);
      } else if (target.closest?.("[data-do=stop]")) finish();
    });
    ask(0);
  };

  const kinds = { slider: slide, quiz };
  document.querySelectorAll("[data-widget]").forEach((widget) => {
    kinds[widget.dataset.widget](widget);
    widget.hidden = false;
  });
})();
