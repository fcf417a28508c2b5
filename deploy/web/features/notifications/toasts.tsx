"use client";
import { useRouter } from "next/navigation";
import { useEffect } from "react";
import { toast, Toaster } from "sonner";
import { pathOf, show } from "@/lib/format";
import { notificationsOf } from "@/features/notifications/notifications";
import { feedOf } from "@/lib/bridge/properties";
import { useSocket } from "@/lib/bridge/socket";
import type { Change } from "@/lib/bridge/store";

const GATHER_MS = 350;
const MANY = 3;
const LEAST_MOVE = 0.01; // of the price

interface Notice {
  about: "listed" | "gone" | "price down" | "price up" | "status changed";
  title: string;
  body: string;
  id: string;
}

/** What of a change is worth interrupting somebody, if anything. */
export function important({ kind, row, changes }: Change): Notice | null {
  const name = row.name ?? String(row.property_id);
  const id = String(row.property_id);
  const place = [row.city, row.state].filter(Boolean).join(", ");
  if (kind === "created")
    return {
      about: "listed",
      id,
      title: `New: ${name}`,
      body: `${place} · ${show("price", row.price)}`,
    };
  if (kind === "deleted")
    return { about: "gone", id, title: `Gone: ${name}`, body: `${place}: no longer listed` };
  const { status, price } = changes;
  if (status)
    return {
      about: "status changed",
      id,
      title: name,
      body: `${show("status", status.old)} → ${show("status", status.new)}`,
    };
  if (typeof price?.old !== "number" || typeof price.new !== "number") return null;
  if (Math.abs(price.new - price.old) < LEAST_MOVE * price.old) return null;
  const percent = price.old
    ? ` (${((100 * (price.new - price.old)) / price.old).toFixed(1)} %)`
    : "";
  return {
    about: price.new < price.old ? "price down" : "price up",
    id,
    title: name,
    body: `${show("price", price.old)} → ${show("price", price.new)}${percent}`,
  };
}

/** One line for many: how often what happened. */
export function fold(lines: readonly Notice[]): string {
  const counts = new Map<string, number>();
  for (const { about } of lines) counts.set(about, (counts.get(about) ?? 0) + 1);
  return [...counts].map(([about, count]) => `${count} × ${about}`).join(", ");
}

export function Toasts({ theme }: { theme: "light" | "dark" | null }) {
  const { client, socket } = useSocket();
  const router = useRouter();
  useEffect(() => {
    let waiting: Notice[] = [];
    const notified = new Set<string>(); // properties of which the user is told anyway
    let timer: ReturnType<typeof setTimeout> | undefined;
    const see = (id: string) => ({ label: "See", onClick: () => router.push(pathOf(id)) });
    const tell = () => {
      timer = undefined;
      const lines = waiting.filter(({ id }) => !notified.has(id));
      waiting = [];
      notified.clear();
      if (lines.length > MANY)
        toast(`${lines.length} listings changed`, { id: "many", description: fold(lines) });
      else
        for (const { id, title, body, about } of lines)
          toast(title, { id: id + about, description: body, action: see(id) });
    };
    const unlisten = [
      feedOf(client).store.onChange((change) => {
        const found = change.live ? important(change) : null;
        if (!found) return;
        waiting.push(found);
        timer ??= setTimeout(tell, GATHER_MS);
      }),
      notificationsOf(socket).onArrival(({ key, title, body, severity, property_id }) => {
        notified.add(String(property_id));
        timer ??= setTimeout(tell, GATHER_MS);
        const say = severity === "important" ? toast.warning : toast.info;
        say(title, { id: key, description: body, action: see(String(property_id)) });
      }),
    ];
    return () => {
      clearTimeout(timer);
      for (const stop of unlisten) stop();
    };
  }, [client, socket, router]);
  return (
    <Toaster
      theme={theme ?? "system"}
      position="bottom-right"
      visibleToasts={4}
      offset={16}
      mobileOffset={12}
      toastOptions={{
        style: { background: "var(--raised)", color: "var(--ink)", borderColor: "var(--line)" },
        classNames: { description: "toast-description" },
        actionButtonStyle: { background: "var(--ink)", color: "var(--paper)" },
      }}
    />
  );
}
