"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("js");

  // An element with attributes and children; texts enter as texts, never as HTML.
  const make = (name, attributes = {}, ...children) => {
    const found = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key in found && typeof value !== "string") found[key] = value;
      else found.setAttribute(key, value);
    }
    found.append(...children);
    return found;
  };
  // Lines may end after an underscore: names of classes are long, and columns narrow.
  const breakable = (text) => text.split(/(?<=_)/).flatMap((part, place) => (place ? [make("wbr"), part] : [part]));
  const wordsOf = (text) => text.toLowerCase().split(/\s+/).filter(Boolean);
  const holds = (text, words) => words.every((word) => text.includes(word));
  const collator = new Intl.Collator(undefined, { numeric: true });
  const MISSING = "–"; // what a table shows where there is no value

  // Numbers by size, texts by letters, what is missing last either way.
  const compare = (left, right, sign) => {
    if (left === right) return 0;
    if (left === "" || left === null) return 1;
    if (right === "" || right === null) return -1;
    const numbers = typeof left === "number" && typeof right === "number";
    return sign * (numbers ? left - right : collator.compare(left, right));
  };

  function theme() {
    const choice = document.getElementById("theme");
    const apply = (value) => {
      if (value) root.dataset.theme = value;
      else delete root.dataset.theme;
    };
    let stored = "";
    try { stored = localStorage.getItem("embedft-theme") || ""; } catch { stored = ""; }
    choice.value = stored;
    apply(choice.value);
    choice.addEventListener("change", () => {
      apply(choice.value);
      try { localStorage.setItem("embedft-theme", choice.value); } catch { /* kept for this page alone */ }
    });
  }

  // A heading that sorts: first the way that shows most, then the other way.
  function sorter(heading, numeric, sort) {
    const button = make("button", { type: "button" });
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const before = heading.getAttribute("aria-sort");
      const descending = before ? before === "ascending" : numeric;
      for (const other of heading.parentNode.children) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
      sort(descending ? -1 : 1);
    });
  }

  function sortable(table, beginning) {
    const body = table.tBodies[0];
    [...table.tHead.rows[0].cells].forEach((heading, place) => {
      if (!heading.textContent.trim()) return;
      const key = (row) => {
        const cell = row.cells[place];
        const shown = cell.textContent.trim();
        const value = cell.dataset.v ?? (shown === MISSING ? "" : shown);
        const figure = value === "" ? NaN : Number(value.replaceAll(",", ""));
        return Number.isFinite(figure) ? figure : value;
      };
      sorter(heading, heading.classList.contains("number"), (sign) => {
        const keyed = [...body.rows].map((row) => [key(row), row]);
        keyed.sort((left, right) => compare(left[0], right[0], sign));
        body.append(...keyed.map((entry) => entry[1]));
        beginning.again();
      });
    });
  }

  // Of a long table or list the beginning, until all is asked for.
  const BEGINNING = { TR: 10, DETAILS: 6 };
  function begun(items, after) {
    const most = BEGINNING[items[0]?.tagName] || items.length;
    if (items.length <= most * 1.5) return { all: () => {}, again: () => {} };
    const again = () => [...items[0].parentNode.children].forEach((item, place) => item.classList.toggle("more", place >= most));
    const button = make("button", { type: "button" }, `show all ${items.length}`);
    const line = make("div", { class: "controls" }, button);
    const all = () => { items.forEach((item) => item.classList.remove("more")); line.remove(); };
    button.addEventListener("click", all);
    after.after(line);
    again();
    return { all, again: () => { if (line.isConnected) again(); } };
  }

  // A field above a table or a list of cards, which hides what lacks its words.
  function filtered(holder, items, before, beginning) {
    if (items.length < 6) return;
    const field = make("input", { type: "search", placeholder: holder.dataset.filter, "aria-label": holder.dataset.filter });
    const told = make("span", { class: "told", role: "status" });
    before.before(make("div", { class: "controls" }, field, told));
    field.addEventListener("input", () => {
      const words = wordsOf(field.value);
      beginning.all();
      let shown = 0;
      for (const item of items) {
        item.hidden = !holds(item.textContent.toLowerCase(), words);
        if (!item.hidden) shown += 1;
      }
      told.textContent = words.length ? `${shown} of ${items.length}` : "";
    });
  }

  // The table of all rows: filtered, sorted and shown a page at a time, whatever their number.
  const SHOWN = 25;
  function rows(holder) {
    const data = JSON.parse(document.getElementById(holder.dataset.source).textContent);
    const state = { view: data.views[0], words: [], outcome: "", chosen: null, order: null, sign: 1, page: 0 };
    const count = data.views[0].outcome.length;
    const lower = new Array(count);
    const text = (row) => (lower[row] ??= data.texts.map((column) => column.values[row]).join("\n").toLowerCase());
    const table = make("table");
    const told = make("span", { class: "told", role: "status" });
    const back = make("button", { type: "button" }, "← earlier");
    const on = make("button", { type: "button" }, "later →");
    const clear = make("button", { type: "button", hidden: true }, "all dots");

    const kept = () => {
      const found = [];
      for (let row = 0; row < count; row += 1) {
        if (state.chosen && !state.chosen.has(row)) continue;
        if (state.outcome && String(state.view.outcome[row]) !== state.outcome) continue;
        if (state.words.length && !holds(text(row), state.words)) continue;
        found.push(row);
      }
      if (state.order) found.sort((left, right) => compare(state.order[left], state.order[right], state.sign) || left - right);
      return found;
    };
    const figure = (value, column) => {
      if (value === null) return MISSING;
      column.digits ??= column.values.every((other) => other === null || Number.isInteger(other)) ? 0
        : column.values.some((other) => Math.abs(other) >= 10) ? 1 : 3;
      const signed = column.name.startsWith("difference") || column.name.startsWith("ranks off");
      return (signed && value > 0 ? "+" : "") + value.toFixed(column.digits);
    };
    const draw = () => {
      const found = kept();
      const pages = Math.max(Math.ceil(found.length / SHOWN), 1);
      state.page = Math.min(state.page, pages - 1);
      const start = state.page * SHOWN;
      const body = table.tBodies[0] || table.createTBody();
      body.replaceChildren(...found.slice(start, start + SHOWN).map((row) => make("tr", {},
        ...data.texts.map((column) => make("td", column.name === "id" ? { dir: "auto", class: "id" } : { dir: "auto" }, ...breakable(column.values[row]))),
        ...state.view.columns.map((column) => {
          const value = column.values[row];
          const kind = column.name === "difference" && value ? (value > 0 ? " better" : " worse") : "";
          return make("td", { class: `number${kind}` }, figure(value, column));
        }))));
      told.textContent = found.length
        ? `${(start + 1).toLocaleString("en")} to ${(start + Math.min(SHOWN, found.length - start)).toLocaleString("en")} of ${found.length.toLocaleString("en")} ${data.unit}`
        : `none of ${count.toLocaleString("en")} ${data.unit}`;
      back.disabled = state.page === 0;
      on.disabled = state.page >= pages - 1;
      clear.hidden = !state.chosen;
    };
    const head = () => {
      table.tHead?.remove();
      const row = table.createTHead().insertRow();
      const columns = [...data.texts.map((column) => [column, false]), ...state.view.columns.map((column) => [column, true])];
      for (const [column, numeric] of columns) {
        const kind = numeric ? "number" : column.name === "id" ? "id" : "words";
        const heading = make("th", { scope: "col", class: kind }, column.name);
        row.append(heading);
        sorter(heading, numeric, (sign) => { Object.assign(state, { order: column.values, sign, page: 0 }); draw(); });
      }
    };
    const change = (values) => { Object.assign(state, { page: 0 }, values); draw(); };

    const field = make("input", { type: "search", placeholder: `Filter the ${data.unit}`, "aria-label": `Filter the ${data.unit}` });
    let waiting = 0;
    field.addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => change({ words: wordsOf(field.value) }), 120);
    });
    const controls = make("div", { class: "controls" }, field);
    const choice = (name, options, apply) => {
      const select = make("select", {}, ...options.map(([value, shown]) => make("option", { value }, shown)));
      select.addEventListener("change", () => apply(select.value));
      controls.append(make("label", {}, `${name} `, select));
    };
    if (data.views.length > 1) {
      choice("metric", data.views.map((view, place) => [String(place), view.name]), (value) => {
        state.view = data.views[Number(value)];
        state.order = null;
        head();
        change({});
      });
    }
    if (data.compared) {
      choice("show", [["", "all"], ["1", "won"], ["-1", "lost"], ["0", "same"]], (outcome) => change({ outcome }));
    }
    back.addEventListener("click", () => { state.page -= 1; draw(); });
    on.addEventListener("click", () => { state.page += 1; draw(); });
    clear.addEventListener("click", () => change({ chosen: null }));
    const paging = make("div", { class: "controls" }, back, on, clear, told);
    head();
    holder.append(controls, make("div", { class: "wide" }, table), paging);
    draw();
    const first = data.texts[0].values;
    return {
      told: (members) => {
        const some = members.slice(0, 3).map((row) => {
          const values = state.view.columns.map((column) => `${column.name} ${figure(column.values[row], column)}`).join(", ");
          return `${first[row]}\n${values}`;
        });
        const more = members.length > 3 ? [`and ${members.length - 3} more; click to list them`] : [];
        return [...some, ...more].join("\n");
      },
      choose: (members) => {
        change({ chosen: new Set(members) });
        holder.scrollIntoView({ block: "start" });
      },
    };
  }

  // Marks that say something when pointed at; arrow keys go from one to the next.
  const tip = make("div", { id: "tip", role: "status", hidden: true });
  const REACH = 22;
  function pointed(plot, table) {
    const marks = [...plot.querySelectorAll("[data-tip], [data-rows]")];
    if (!marks.length) return;
    const svg = plot.querySelector("svg");
    const members = (mark) => (mark.dataset.rows || "").split(" ").filter(Boolean).map(Number);
    let current = null;
    const hide = () => {
      current?.classList.remove("pointed");
      current = null;
      tip.hidden = true;
    };
    const show = (mark) => {
      if (mark === current) return;
      hide();
      current = mark;
      mark.classList.add("pointed");
      tip.textContent = mark.dataset.tip || (table ? table.told(members(mark)) : "");
      tip.hidden = !tip.textContent;
      const box = mark.getBoundingClientRect();
      const own = tip.getBoundingClientRect();
      const left = Math.min(Math.max(box.left + box.width / 2 - own.width / 2, 8), Math.max(innerWidth - own.width - 8, 8));
      const above = box.top - own.height - 8;
      tip.style.left = `${left + scrollX}px`;
      tip.style.top = `${(above > 4 ? above : box.bottom + 8) + scrollY}px`;
    };
    const nearest = (event) => {
      if (marks.includes(event.target)) return event.target;
      let found = null;
      let least = REACH * REACH;
      for (const mark of marks) {
        if (mark.tagName !== "circle") continue;
        const box = mark.getBoundingClientRect();
        const distance = (box.left + box.width / 2 - event.clientX) ** 2 + (box.top + box.height / 2 - event.clientY) ** 2;
        if (distance < least) [found, least] = [mark, distance];
      }
      return found;
    };
    const point = (event) => {
      const mark = nearest(event);
      if (mark) show(mark);
      else hide();
    };
    const choose = () => { if (current && table && current.dataset.rows) table.choose(members(current)); };
    svg.addEventListener("pointermove", point);
    svg.addEventListener("pointerdown", point);
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("click", choose);
    plot.tabIndex = 0;
    plot.setAttribute("role", "group");
    plot.setAttribute("aria-label", "figure; arrow keys go from mark to mark");
    const ordered = svg.querySelector("rect.cell") ? marks
      : marks.map((mark) => [Number(mark.getAttribute("cx") ?? mark.getAttribute("x")), mark])
        .sort((left, right) => left[0] - right[0]).map((entry) => entry[1]);
    plot.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (event.target !== plot) return;
      if (step) {
        const place = current ? ordered.indexOf(current) + step : step > 0 ? 0 : ordered.length - 1;
        show(ordered[Math.min(Math.max(place, 0), ordered.length - 1)]);
        event.preventDefault();
      } else if (event.key === "Escape") hide();
      else if (event.key === "Enter") choose();
    });
    plot.addEventListener("blur", hide);
  }

  // What scrolls sideways can be scrolled by keys.
  function scrollable() {
    for (const box of document.querySelectorAll(".wide, pre")) {
      if (box.scrollWidth > box.clientWidth + 1) {
        box.tabIndex = 0;
        if (box.matches(".wide")) {
          box.setAttribute("role", "region");
          box.setAttribute("aria-label", box.querySelector("caption")?.textContent || "scrolls sideways");
        }
      } else if (box.matches(".wide")) {
        for (const name of ["tabindex", "role", "aria-label"]) box.removeAttribute(name);
      }
    }
  }

  function contents() {
    const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
    if (!links.size) return;
    const narrow = matchMedia("(max-width: 60rem)");
    const folding = document.querySelector("nav details");
    const fold = () => { folding.open = !narrow.matches; };
    fold();
    narrow.addEventListener("change", fold);
    const seen = new Set();
    const watcher = new IntersectionObserver((entries) => {
      for (const entry of entries) seen[entry.isIntersecting ? "add" : "delete"](entry.target.id);
      const first = [...links.keys()].find((name) => seen.has(name));
      for (const [name, link] of links) {
        if (name === first) link.setAttribute("aria-current", "true");
        else link.removeAttribute("aria-current");
      }
    }, { rootMargin: "-10% 0px -60% 0px" });
    for (const name of links.keys()) watcher.observe(document.getElementById(name));
  }

  theme();
  document.body.append(tip);
  document.querySelectorAll("table.sortable").forEach((table) => {
    const items = [...table.tBodies[0].rows];
    const beginning = begun(items, table.parentNode);
    sortable(table, beginning);
    if (table.dataset.filter) filtered(table, items, table.parentNode, beginning);
  });
  document.querySelectorAll(".cards").forEach((cards) => {
    const items = [...cards.children];
    filtered(cards, items, cards, begun(items, cards));
  });
  const holder = document.querySelector(".rows");
  const whole = holder ? rows(holder) : null;
  document.querySelectorAll(".plot").forEach((plot) => pointed(plot, whole));
  contents();
  scrollable();
  addEventListener("resize", scrollable);
  document.addEventListener("toggle", scrollable, true);
})();
