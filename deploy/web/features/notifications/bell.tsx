"use client";
import Link from "next/link";
import { useEffect, useRef, useState } from "react";
import { Icon } from "@/components/icon";
import button from "@/components/icon-button.module.css";
import { useObservable } from "@/lib/bridge/react";
import { propertyPath } from "@/lib/format";
import { useNotifications } from "./react";
import styles from "./bell.module.css";

/** The user's notifications, with the number of unread ones. */
export function Bell() {
  const notifications = useNotifications();
  const { list, unread } = useObservable(notifications.inbox);
  const muted = useObservable(notifications.muted);
  const [open, setOpen] = useState(false);
  const container = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!open) return;
    const onPointerDown = ({ target }: PointerEvent) => {
      if (!container.current?.contains(target as Node)) setOpen(false);
    };
    const onKeyDown = ({ key }: KeyboardEvent) => {
      if (key === "Escape") setOpen(false);
    };
    document.addEventListener("pointerdown", onPointerDown);
    document.addEventListener("keydown", onKeyDown);
    return () => {
      document.removeEventListener("pointerdown", onPointerDown);
      document.removeEventListener("keydown", onKeyDown);
    };
  }, [open]);
  return (
    <div
      ref={container}
      className={styles.bell}
      data-testid="notifications"
      data-count={list.length}
    >
      <button
        type="button"
        className={button.icon}
        aria-expanded={open}
        aria-label={`Notifications, ${unread} unread`}
        onClick={() => {
          setOpen(!open);
          notifications.markRead();
        }}
      >
        <Icon join="round">
          <path d="M6 17V11a6 6 0 0 1 12 0v6l1.500 1.500h-15zM10 21h4" />
        </Icon>
        {unread > 0 && <span className={styles.unread}>{unread > 9 ? "9+" : unread}</span>}
      </button>
      {open && (
        <div className={styles.panel} role="region" aria-label="Notifications">
          <label className={styles.mute}>
            <input
              type="checkbox"
              checked={!muted}
              onChange={({ target }) => notifications.mute(!target.checked)}
            />
            Pop-up messages
          </label>
          {list.length === 0 ? (
            <p className={styles.empty}>
              No notifications yet. Changes to properties and regions that you watch appear here.
            </p>
          ) : (
            <ul>
              {list.map((notification) => (
                <li key={notification.key} data-severity={notification.severity}>
                  <Link
                    href={propertyPath(String(notification.property_id))}
                    prefetch={false}
                    onClick={() => setOpen(false)}
                  >
                    <strong>{notification.title}</strong>
                    <span>{notification.body}</span>
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
