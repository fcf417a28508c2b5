import type { ReactNode } from "react";

/** A line drawing on a grid of 24 units, in the text colour. Hidden from assistive technology: the
 * element around it has the label. */
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
