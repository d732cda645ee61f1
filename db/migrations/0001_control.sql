ALTER TABLE `runs` ADD `state_key_id` text;--> statement-breakpoint
ALTER TABLE `runs` ADD `state` blob;--> statement-breakpoint
CREATE INDEX `runs_parent` ON `runs` (`parent`,`id`) WHERE parent IS NOT NULL;