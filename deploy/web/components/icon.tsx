import type { ReactNode } from "react";

/** A line drawing in a square of 24, in the colour of the text beside it. It says nothing itself. */
export function Icon({ join, children }: { join?: "round"; children: ReactNode }) {
  return (
    <svg
      viewBox="0 0 24 24"
      width="18"
      height="18"
      aria-hidden="true"
      fill="none"
      stroke="currentColor"
      strokeWidth="1.8"
      strokeLinecap="round"
      strokeLinejoin={join}
    >
      {children}
    </svg>
  );
}
