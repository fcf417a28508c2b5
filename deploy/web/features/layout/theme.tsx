"use client";
import { useState } from "react";
import { Icon } from "@/components/icon";
import styles from "@/components/icon-button.module.css";

/** Null follows the operating system. */
type Choice = "light" | "dark" | null;
const NEXT: Record<string, Choice> = { system: "light", light: "dark", dark: null };
/** Switches between the system's theme, light and dark. A cookie keeps the choice, so that the
 * server renders the page in it. */
export function ThemeButton({ initial }: { initial: Choice }) {
  const [choice, setChoice] = useState(initial);
  const name = choice ?? "system";
  function switchTheme() {
    const next = NEXT[name] ?? null;
    setChoice(next);
    if (next) document.documentElement.dataset["theme"] = next;
    else delete document.documentElement.dataset["theme"];
    document.cookie = `theme=${next ?? ""}; path=/; max-age=${next ? 31_536_000 : 0}; samesite=lax`;
    window.dispatchEvent(new Event("themechange"));
  }
  return (
    <button
      type="button"
      className={styles.icon}
      onClick={switchTheme}
      data-testid="theme"
      aria-label={`Theme: ${name}. Switch theme`}
      title={`Theme: ${name}`}
    >
      <Icon>
        {name === "light" && (
          <>
            <circle cx="12" cy="12" r="4" />
            <path d="M12 3v2m0 14v2M3 12h2m14 0h2M5.6 5.6 7 7m10 10 1.4 1.4M18.4 5.6 17 7M7 17l-1.4 1.4" />
          </>
        )}
        {name === "dark" && <path d="M20 14.5A8 8 0 1 1 9.5 4a6.5 6.5 0 0 0 10.500 10.500z" />}
        {name === "system" && (
          <>
            <circle cx="12" cy="12" r="8" />
            <path d="M12 4v16a8 8 0 0 0 0-16z" fill="currentColor" />
          </>
        )}
      </Icon>
    </button>
  );
}
