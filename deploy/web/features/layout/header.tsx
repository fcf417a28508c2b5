"use client";
import Link from "next/link";
import { usePathname } from "next/navigation";
import type { SupabaseSession } from "@/features/auth/session";
import { Bell } from "@/features/notifications/bell";
import { ConnectionPill } from "@/features/connection/connection-pill";
import { SignIn } from "@/features/auth/sign-in";
import { ThemeButton } from "./theme";
import styles from "./header.module.css";

export function Header({
  session,
  theme,
}: {
  /** Null where Supabase Auth is not configured: there is no sign-in. */
  session: SupabaseSession | null;
  theme: "light" | "dark" | null;
}) {
  const path = usePathname();
  return (
    <header className={styles.header}>
      <Link href="/" prefetch={false} className={styles.brand} aria-label="All listings">
        <svg viewBox="0 0 24 24" width="22" height="22" aria-hidden="true">
          <path
            d="M3 20V9l6-4v15M9 20V3l12 6v11M13 10v2m4-1v2m-4 2v2m4-1v2"
            fill="none"
            stroke="currentColor"
            strokeWidth="1.8"
            strokeLinecap="round"
            strokeLinejoin="round"
          />
        </svg>
        <span>Listings</span>
      </Link>
      <nav className={styles.nav} aria-label="Pages">
        <Link href="/" prefetch={false} aria-current={path === "/" ? "page" : undefined}>
          Browse
        </Link>
        <Link
          href="/compare"
          prefetch={false}
          aria-current={path === "/compare" ? "page" : undefined}
        >
          Compare
        </Link>
      </nav>
      <div className={styles.tools}>
        <ConnectionPill />
        <Bell />
        <ThemeButton initial={theme} />
        {session && <SignIn session={session} />}
      </div>
    </header>
  );
}
