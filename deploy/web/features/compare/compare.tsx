"use client";
import { useRouter } from "next/navigation";
import { useMemo } from "react";
import { PropertyProvider, useProperties } from "@/lib/bridge/react";
import { formatRegion, regionsOf } from "@/lib/bridge/regions";
import { useRegionColumns } from "@/lib/columns";
import { useHighlights } from "@/features/highlights/react";
import { Listings } from "@/features/listings/listings";
import type { RegionCount } from "@/features/listings/region-counts";
import { useRegionCounts } from "@/features/listings/use-region-counts";
import styles from "./compare.module.css";

interface Props {
  left: string;
  right: string;
  regions: readonly RegionCount[];
}

/** Two regions side by side in one view: a listing that moves between them changes the column. */
export function Compare(props: Props) {
  return (
    <PropertyProvider regions={[...new Set([props.left, props.right])]}>
      <Columns {...props} />
    </PropertyProvider>
  );
}

function Columns({ left, right, regions: initial }: Props) {
  const router = useRouter();
  const regions = useRegionCounts(initial).map(({ region }) => region);
  const navigate = (a: string, b: string) =>
    router.push(`/compare?left=${encodeURIComponent(a)}&right=${encodeURIComponent(b)}`);
  return (
    <main className={styles.main}>
      <h1 className="visually-hidden">
        {formatRegion(left)} and {formatRegion(right)} side by side
      </h1>
      <Column
        region={left}
        regions={regions}
        label="Left region"
        onChange={(region) => navigate(region, right)}
      />
      <Column
        region={right}
        regions={regions}
        label="Right region"
        onChange={(region) => navigate(left, region)}
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
  const { rows, ready, error } = useProperties();
  const recent = useHighlights();
  const regionColumns = useRegionColumns();
  const columnRows = useMemo(
    () => rows.filter((row) => regionsOf(row, regionColumns).includes(region)),
    [rows, region, regionColumns],
  );
  return (
    <section className={styles.column} data-testid="column" data-region={region}>
      <div className={styles.bar}>
        <select aria-label={label} value={region} onChange={({ target }) => onChange(target.value)}>
          {[...new Set([region, ...regions])].sort().map((name) => (
            <option key={name} value={name}>
              {formatRegion(name)}
            </option>
          ))}
        </select>
        <output>{ready ? `${columnRows.length} listings` : "…"}</output>
      </div>
      <Listings
        rows={columnRows}
        recent={recent}
        ready={ready}
        error={error}
        label={`Listings in ${formatRegion(region)}`}
      />
    </section>
  );
}
