//! Steps handed over to the GPU, their reports and snapshots.
use super::engine::{Gpu, Report};
use super::pipeline::Element;
use super::record::{Copies, Reading};
use crate::kernels::{Precision, Result, Snapshot, Ticket, View};

impl Gpu {
    /// Copies of f32 views, on their way to the host.
    pub fn start_snapshot(&mut self, views: &[View]) -> Result<Box<dyn Snapshot>> {
        self.reduce_partials();
        let mut copies = Vec::with_capacity(views.len());
        for view in views {
            let from = &self.buffers[view.buffer];
            assert_eq!(
                from.element,
                Element::Value(Precision::F32),
                "a snapshot of {}",
                from.label
            );
            let (offset, bytes) = (4 * view.offset as u64, 4 * view.len as u64);
            let buffer = self.spares.take(&self.device, bytes);
            self.recorder.encoder().copy_buffer_to_buffer(&from.buffer, offset, &buffer, 0, bytes);
            copies.push((buffer, bytes));
        }
        let submission = self.recorder.flush()?;
        self.check()?;
        let submission = submission.expect("the copies were recorded");
        let copies = copies
            .into_iter()
            .map(|(buffer, bytes)| (Reading::start(&buffer, bytes, submission.clone()), buffer))
            .collect();
        Ok(Box::new(Copies { device: self.device.clone(), spares: self.spares.clone(), copies }))
    }

    /// Hands over what was recorded, with a copy of the report for [`take_report`](Self::take_report).
    pub fn submit_report(&mut self, report: View) -> Ticket {
        self.reduce_partials();
        for line in self.fallbacks.end_step() {
            self.device.notice(line);
        }
        let ticket = Ticket(self.submitted);
        let place = (self.submitted % self.reports.len() as u64) as usize;
        assert!(
            self.submitted - self.collected < self.reports.len() as u64,
            "more steps in flight than the ring holds"
        );
        self.submitted += 1;
        let bytes = 4 * report.len as u64;
        let from = &self.buffers[report.buffer].buffer;
        self.recorder.encoder().copy_buffer_to_buffer(
            from,
            4 * report.offset as u64,
            &self.reports[place].buffer,
            0,
            bytes,
        );
        match self.recorder.flush() {
            Ok(Some(submission)) => {
                let report_place = &mut self.reports[place];
                report_place.len = report.len;
                report_place.reading =
                    Some(Reading::start(&report_place.buffer, bytes, submission));
            }
            Ok(None) => {}
            Err(error) => self.trouble = Some(error),
        }
        ticket
    }

    /// The report of the oldest ticket, where it is there.
    pub fn take_report(&mut self, ticket: Ticket, wait: bool) -> Result<Option<Vec<f32>>> {
        assert_eq!(ticket.0, self.collected, "reports are collected in order");
        self.check()?;
        let place = (ticket.0 % self.reports.len() as u64) as usize;
        let Report { reading, buffer, len } = &mut self.reports[place];
        let Some(mut under_way) = reading.take() else { return Ok(None) };
        if wait {
            under_way.wait(&self.device)?;
        } else if !under_way.is_there(&self.device) {
            *reading = Some(under_way);
            return Ok(None);
        }
        let mut report = Vec::with_capacity(*len);
        under_way.take(&self.device, buffer, |bytes| {
            report.extend(bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)))
        })?;
        self.collected += 1;
        Ok(Some(report))
    }
}
