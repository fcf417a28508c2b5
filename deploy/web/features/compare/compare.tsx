"use client";
import { useRouter } from "next/navigation";
import { useMemo } from "react";
import { PropertyProvider, useProperties } from "@/lib/bridge/properties";
import { useHighlights } from "@/features/highlights/use-highlights";
import { Listings } from "@/features/listings/listings";
import styles from "./compare.module.css";

interface Sides {
  left: string;
  right: string;
  regions: readonly string[];
}

/** Two regions side by side, through one socket: a listing that moves is seen to leave and enter. */
export function Compare(props: Sides) {
  return (
    <PropertyProvider regions={[...new Set([props.left, props.right])]}>
      <Columns {...props} />
    </PropertyProvider>
  );
}

function Columns({ left, right, regions }: Sides) {
  const router = useRouter();
  const go = (a: string, b: string) =>
    router.push(`/compare?left=${encodeURIComponent(a)}&right=${encodeURIComponent(b)}`);
  return (
    <main className={styles.main}>
      <h1 className="visually-hidden">
        {left} and {right} side by side
      </h1>
      <Column
        region={left}
        regions={regions}
        label="Left region"
        onChange={(region) => go(region, right)}
      />
      <Column
        region={right}
        regions={regions}
        label="Right region"
        onChange={(region) => go(left, region)}
      />
    </main>
  );
}

function Column(props: {
  region: string;
  regions: readonly string[];
  label: string;
  onChange: (region: string) => void;
}) {
  const { region, regions, label, onChange } = props;
  const { rows, ready, error, store } = useProperties();
  const fresh = useHighlights(store);
  const mine = useMemo(
    () => rows.filter(({ state, city }) => within(region, state, city)),
    [rows, region],
  );
  return (
    <section className={styles.column} data-testid="column" data-region={region}>
      <div className={styles.bar}>
        <select aria-label={label} value={region} onChange={({ target }) => onChange(target.value)}>
          {[...new Set([region, ...regions])].sort().map((name) => (
            <option key={name}>{name}</option>
          ))}
        </select>
        <output>{ready ? `${mine.length} listings` : "…"}</output>
      </div>
      <Listings
        rows={mine}
        fresh={fresh}
        ready={ready}
        error={error}
        label={`Listings in ${region}`}
      />
    </section>
  );
}

/** Whether a place is in a region such as TX or TX/Austin. */
function within(region: string, state: string | null, city: string | null): boolean {
  return region === state || region === `${state}/${city}`;
}
