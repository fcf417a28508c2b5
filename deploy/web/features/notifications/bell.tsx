"use client";
import Link from "next/link";
import { useEffect, useRef, useState, useSyncExternalStore } from "react";
import { pathOf } from "@/lib/format";
import { notificationsOf } from "@/features/notifications/notifications";
import { useSocket } from "@/lib/bridge/socket";
import { Icon } from "@/components/icon";
import styles from "@/features/layout/header.module.css";

const EMPTY = { list: [], unread: 0 };

/** What concerns this user, and how much of it is unread. */
export function Bell() {
  const notifications = notificationsOf(useSocket().socket);
  const { list, unread } = useSyncExternalStore(
    notifications.subscribe,
    notifications.getSnapshot,
    () => EMPTY,
  );
  const [open, setOpen] = useState(false);
  const place = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!open) return;
    const away = (event: Event) => {
      if (
        event instanceof KeyboardEvent
          ? event.key === "Escape"
          : !place.current?.contains(event.target as Node)
      )
        setOpen(false);
    };
    document.addEventListener("pointerdown", away);
    document.addEventListener("keydown", away);
    return () => {
      document.removeEventListener("pointerdown", away);
      document.removeEventListener("keydown", away);
    };
  }, [open]);
  return (
    <div ref={place} className={styles.bell} data-testid="notifications" data-count={list.length}>
      <button
        type="button"
        className={styles.icon}
        aria-expanded={open}
        aria-label={`Notifications, ${unread} unread`}
        onClick={() => {
          setOpen(!open);
          notifications.read();
        }}
      >
        <Icon join="round">
          <path d="M6 17V11a6 6 0 0 1 12 0v6l1.500 1.500h-15zM10 21h4" />
        </Icon>
        {unread > 0 && <span className={styles.unread}>{unread > 9 ? "9+" : unread}</span>}
      </button>
      {open && (
        <div className={styles.panel} role="region" aria-label="Notifications">
          {list.length === 0 ? (
            <p className={styles.none}>Nothing yet. Changes of what you watch show up here.</p>
          ) : (
            <ul>
              {list.map((each) => (
                <li key={each.key} data-severity={each.severity}>
                  <Link
                    href={pathOf(String(each.property_id))}
                    prefetch={false}
                    onClick={() => setOpen(false)}
                  >
                    <strong>{each.title}</strong>
                    <span>{each.body}</span>
                  </Link>
                </li>
              ))}
            </ul>
          )}
        </div>
      )}
    </div>
  );
}
