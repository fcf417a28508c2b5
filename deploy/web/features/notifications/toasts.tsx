"use client";
import { useRouter } from "next/navigation";
import { useEffect } from "react";
import { toast, Toaster } from "sonner";
import { usePropertyStore } from "@/lib/bridge/react";
import { propertyPath } from "@/lib/format";
import { useNotifications } from "./react";
import { summarize, type ToastContent, toToast } from "./toast-content";

/** Changes within this time are shown together. */
const COLLECT_MS = 350;
/** More than this many are shown as one toast. */
const MAX_SINGLE_TOASTS = 3;

/** Shows a toast for each important change of the view and for each notification. */
export function Toasts({ theme }: { theme: "light" | "dark" | null }) {
  const store = usePropertyStore();
  const notifications = useNotifications();
  const router = useRouter();
  useEffect(() => {
    let pending: ToastContent[] = [];
    const notified = new Set<string>(); // properties with a notification in the same interval
    let timer: ReturnType<typeof setTimeout> | undefined;
    const view = (id: string) => ({
      label: "View",
      onClick: () => router.push(propertyPath(id)),
    });
    const flush = () => {
      timer = undefined;
      const muted = notifications.muted.getSnapshot();
      const shown = muted ? [] : pending.filter(({ id }) => !notified.has(id));
      pending = [];
      notified.clear();
      if (shown.length > MAX_SINGLE_TOASTS) {
        toast(`${shown.length} listings changed`, { id: "many", description: summarize(shown) });
      } else {
        for (const { id, kind, title, body } of shown)
          toast(title, { id: id + kind, description: body, action: view(id) });
      }
    };
    const unsubscribe = [
      store.changes.subscribe((change) => {
        const content = change.fromEvent ? toToast(change) : null;
        if (!content) return;
        pending.push(content);
        timer ??= setTimeout(flush, COLLECT_MS);
      }),
      notifications.arrivals.subscribe(({ key, title, body, severity, property_id }) => {
        if (notifications.muted.getSnapshot()) return;
        notified.add(String(property_id));
        timer ??= setTimeout(flush, COLLECT_MS);
        const show = severity === "important" ? toast.warning : toast.info;
        show(title, { id: key, description: body, action: view(String(property_id)) });
      }),
    ];
    const unsubscribeMuted = notifications.muted.subscribe((muted) => {
      if (muted) toast.dismiss();
    });
    return () => {
      clearTimeout(timer);
      unsubscribeMuted();
      for (const stop of unsubscribe) stop();
    };
  }, [store, notifications, router]);
  return (
    <Toaster
      theme={theme ?? "system"}
      position="bottom-right"
      visibleToasts={4}
      closeButton
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
