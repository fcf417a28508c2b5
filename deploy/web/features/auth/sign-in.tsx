"use client";
import { useEffect, useRef, useState } from "react";
import type { SupabaseSession } from "@/features/auth/session";
import { Icon } from "@/components/icon";
import styles from "./sign-in.module.css";

/** Email with a password, or with a link by mail. */
export function SignIn({ session }: { session: SupabaseSession }) {
  const [email, setEmail] = useState<string | null>(null);
  const [message, setMessage] = useState("");
  const [busy, setBusy] = useState(false);
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    let over = false;
    let unsubscribe = () => {};
    void session.client().then(({ auth }) => {
      if (over) return;
      const { data } = auth.onAuthStateChange((_event, now) => setEmail(now?.user.email ?? null));
      unsubscribe = () => data.subscription.unsubscribe();
    });
    return () => {
      over = true;
      unsubscribe();
    };
  }, [session]);

  async function enter(form: FormData) {
    const [address, password] = [String(form.get("email")), String(form.get("password"))];
    setBusy(true);
    const { auth } = await session.client();
    const { error } = password
      ? await auth.signInWithPassword({ email: address, password })
      : await auth.signInWithOtp({
          email: address,
          options: { emailRedirectTo: window.location.href },
        });
    setBusy(false);
    if (error) setMessage(error.message);
    else if (password) dialog.current?.close();
    else setMessage(`A link is on its way to ${address}.`);
  }

  async function leave() {
    const { error } = await (await session.client()).auth.signOut();
    if (error) setMessage(error.message);
  }

  if (email) {
    return (
      <button
        type="button"
        className={styles.door}
        onClick={() => void leave()}
        title={`Signed in as ${email}`}
      >
        <Door />
        <span>Sign out</span>
      </button>
    );
  }
  return (
    <>
      <button type="button" className={styles.door} onClick={() => dialog.current?.showModal()}>
        <Door />
        <span>Sign in</span>
      </button>
      <dialog ref={dialog} className={styles.dialog} aria-label="Sign in">
        <form
          onSubmit={(event) => {
            event.preventDefault();
            void enter(new FormData(event.currentTarget));
          }}
        >
          <h2>Sign in</h2>
          <label>
            Email
            <input name="email" type="email" required autoComplete="email" />
          </label>
          <label>
            Password
            <input name="password" type="password" autoComplete="current-password" />
          </label>
          <p className={styles.hint} role="status">
            {message || "Without a password you get a link by mail."}
          </p>
          <div className={styles.row}>
            <button type="button" className={styles.quiet} onClick={() => dialog.current?.close()}>
              Cancel
            </button>
            <button type="submit" className={styles.button} disabled={busy}>
              {busy ? "One moment …" : "Continue"}
            </button>
          </div>
        </form>
      </dialog>
    </>
  );
}

/** What is left of the button's words where there is no room for them. */
function Door() {
  return (
    <Icon join="round">
      <path d="M10 4h8v16h-8M4 12h10m-4-4 4 4-4 4" />
    </Icon>
  );
}
