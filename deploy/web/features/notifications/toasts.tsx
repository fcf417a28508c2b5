"use client";
import { useRouter } from "next/navigation";
import { useEffect } from "react";
import { toast, Toaster } from "sonner";
import { usePropertyStore } from "@/lib/bridge/react";
import { propertyPath } from "@/lib/format";
import { useNotifications } from "./react";
import { ToastCollector } from "./toast-collector";
import { toToast } from "./toast-content";

/** Shows toasts of important changes of the view, and of each notification. */
export function Toasts({ theme }: { theme: "light" | "dark" | null }) {
  const store = usePropertyStore();
  const notifications = useNotifications();
  const router = useRouter();
  useEffect(() => {
    const view = (id: string) => ({
      label: "View",
      onClick: () => router.push(propertyPath(id)),
    });
    const collector = new ToastCollector((shown, summary) => {
      if (notifications.muted.getSnapshot()) return;
      if (summary) {
        toast(`${shown.length} listings changed`, { id: "many", description: summary });
      } else {
        for (const { id, kind, title, body } of shown)
          toast(title, { id: id + kind, description: body, action: view(id) });
      }
    });
    const unsubscribe = [
      store.changes.subscribe((change) => {
        const content = change.fromEvent ? toToast(change) : null;
        if (content) collector.add(content);
      }),
      notifications.arrivals.subscribe(({ key, title, body, severity, property_id }) => {
        if (notifications.muted.getSnapshot()) return;
        collector.notified(String(property_id));
        const show = severity === "important" ? toast.warning : toast.info;
        show(title, { id: key, description: body, action: view(String(property_id)) });
      }),
    ];
    const unsubscribeMuted = notifications.muted.subscribe((muted) => {
      if (muted) toast.dismiss();
    });
    return () => {
      collector.stop();
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
