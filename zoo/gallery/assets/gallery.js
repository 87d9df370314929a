// The home page's filters, with their state in the address, and folded weights that an address names.
"use strict";

(() => {
  const form = document.querySelector(".zoo-filters");
  if (form) filter(form);
  addEventListener("hashchange", unfold);
  unfold();

  function filter(form) {
    const menus = [...form.querySelectorAll("select")];
    const tiles = [...document.querySelectorAll(".zoo-tile")];
    const count = document.querySelector(".zoo-count");
    const none = document.querySelector(".zoo-none");
    const all = form.querySelector("button");

    function show() {
      const chosen = menus.filter((menu) => menu.value);
      let left = 0;
      for (const tile of tiles) {
        const fits = chosen.every((menu) => tile.dataset[menu.dataset.facet].split("|").includes(menu.value));
        tile.hidden = !fits;
        left += fits;
      }
      const systems = tiles.length === 1 ? "system" : "systems";
      count.textContent = chosen.length ? `${left} of ${tiles.length} ${systems}` : `${tiles.length} ${systems}`;
      none.hidden = left > 0;
      all.hidden = chosen.length === 0;
      for (const menu of menus) menu.classList.toggle("zoo-chosen", menu.value !== "");
    }

    function read() {
      const asked = new URLSearchParams(location.hash.slice(1));
      for (const menu of menus) {
        menu.value = asked.get(menu.dataset.facet) || "";
        if (menu.selectedIndex < 0) menu.value = ""; // a value that the menu does not have
      }
      show();
    }

    function write() {
      const asked = new URLSearchParams();
      for (const menu of menus) if (menu.value) asked.set(menu.dataset.facet, menu.value);
      const hash = asked.toString();
      history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
      show();
    }

    form.addEventListener("change", write);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => setTimeout(write));
    addEventListener("hashchange", read);
    read();
  }

  function unfold() {
    const named = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (named && named.tagName === "DETAILS") {
      named.open = true;
      named.scrollIntoView();
    }
  }
})();
