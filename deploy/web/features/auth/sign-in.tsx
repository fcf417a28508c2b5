"use client";
import { useEffect, useRef, useState } from "react";
import type { SupabaseSession } from "@/features/auth/session";
import { Icon } from "@/components/icon";
import styles from "./sign-in.module.css";

/** Sign in with email and password, or with a link sent by email. */
export function SignIn({ session }: { session: SupabaseSession }) {
  const [email, setEmail] = useState<string | null>(null);
  const [message, setMessage] = useState("");
  const [busy, setBusy] = useState(false);
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    let cancelled = false;
    let unsubscribe = () => {};
    void session.client().then(({ auth }) => {
      if (cancelled) return;
      const { data } = auth.onAuthStateChange((_event, current) =>
        setEmail(current?.user.email ?? null),
      );
      unsubscribe = () => data.subscription.unsubscribe();
    });
    return () => {
      cancelled = true;
      unsubscribe();
    };
  }, [session]);

  async function signIn(form: FormData) {
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
    else setMessage(`A sign-in link was sent to ${address}.`);
  }

  async function signOut() {
    const { error } = await (await session.client()).auth.signOut();
    if (error) setMessage(error.message);
  }

  if (email) {
    return (
      <button
        type="button"
        className={styles.toggle}
        onClick={() => void signOut()}
        title={`Signed in as ${email}`}
      >
        <SignInIcon />
        <span>Sign out</span>
      </button>
    );
  }
  return (
    <>
      <button type="button" className={styles.toggle} onClick={() => dialog.current?.showModal()}>
        <SignInIcon />
        <span>Sign in</span>
      </button>
      <dialog ref={dialog} className={styles.dialog} aria-label="Sign in">
        <form
          onSubmit={(event) => {
            event.preventDefault();
            void signIn(new FormData(event.currentTarget));
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
            {message || "Leave the password empty to receive a sign-in link by email."}
          </p>
          <div className={styles.row}>
            <button type="button" className={styles.quiet} onClick={() => dialog.current?.close()}>
              Cancel
            </button>
            <button type="submit" className={styles.button} disabled={busy}>
              {busy ? "Signing in …" : "Continue"}
            </button>
          </div>
        </form>
      </dialog>
    </>
  );
}

/** Replaces the button's text on narrow screens. */
function SignInIcon() {
  return (
    <Icon join="round">
      <path d="M10 4h8v16h-8M4 12h10m-4-4 4 4-4 4" />
    </Icon>
  );
}
