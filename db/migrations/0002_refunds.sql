CREATE TABLE `refunds` (
	`order_id` text PRIMARY KEY NOT NULL,
	`amount_cents` integer NOT NULL,
	`status` text NOT NULL,
	`run_id` text NOT NULL,
	`decided_by` text,
	`payment_id` text,
	`opened_at` integer NOT NULL,
	`settled_at` integer
);
